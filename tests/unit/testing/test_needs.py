"""needs(): skips with the reason, and fails where the environment says that it must work."""

from __future__ import annotations

import pytest

from newroot.linux import features
from newroot.testing import missing
from newroot.testing.needs import MUST_WORK

pytest_plugins = ["pytester"]

PROGRAM = """
import pytest
from newroot.testing import needs, require

@needs("no-such-program")
def test_marked():
    pass

def test_asks():
    require("no-such-program")

def test_wants_nothing():
    pass
"""


@pytest.fixture
def outcome(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, request):
    def run(must_work: str | None) -> dict[str, int]:
        monkeypatch.delenv(MUST_WORK, raising=False)
        if must_work is not None:
            monkeypatch.setenv(MUST_WORK, must_work)
        pytester.makepyfile(PROGRAM)
        return pytester.runpytest("-p", "newroot.testing.plugin", "-rs").parseoutcomes()

    return run


def test_a_missing_need_skips(outcome) -> None:
    assert outcome(None) == {"passed": 1, "skipped": 2}


def test_another_s_must_does_not_concern_us(outcome) -> None:
    assert outcome("overlay, gcc") == {"passed": 1, "skipped": 2}


@pytest.mark.parametrize("must_work", ["no-such-program", "overlay,no-such-program", "all"])
def test_a_missing_need_that_must_work_fails(outcome, must_work: str) -> None:
    seen = outcome(must_work)

    assert "skipped" not in seen
    assert seen["passed"] == 1
    assert seen.get("failed", 0) + seen.get("errors", 0) == 2


def test_the_reason_says_what_was_seen() -> None:
    assert missing("no-such-program") == "no no-such-program on PATH"


@pytest.mark.parametrize("name", sorted(features.NAMES))
def test_every_feature_of_the_kernel_can_be_needed(name: str) -> None:
    seen = features.probe(name)

    assert missing(name) == (None if seen.works else seen.tried)
