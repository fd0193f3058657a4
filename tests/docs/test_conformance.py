"""Every test that docs/conformance.md names is there, and every line names one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from differential.comparison import CASES

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs/conformance.md").read_text()
LINES = [line for line in PAGE.splitlines() if re.match(r"\| (?!section|--)", line)]
NAMED = sorted(set(re.findall(r"`((?:bundle:|tests/\S+?::)[^`]+)`", PAGE)))


def test_every_line_names_a_test() -> None:
    assert len(LINES) >= 130
    assert [line for line in LINES if not re.search(r"`(bundle:|tests/\S+::)", line)] == []


@pytest.mark.parametrize(
    "document", ["runtime.md", "config.md", "config-linux.md", "features.md and features-linux.md"]
)
def test_every_document_has_its_table(document: str) -> None:
    assert f"\n## {document}\n" in PAGE


@pytest.mark.parametrize("name", NAMED)
def test_the_test_is_there(name: str) -> None:
    if name.startswith("bundle:"):
        assert name.removeprefix("bundle:") in CASES
        return
    path, _, test = name.partition("::")
    test, _, parameter = test.partition("[")
    source = (ROOT / path).read_text()

    assert re.search(rf"^def {re.escape(test)}\(", source, re.MULTILINE)
    assert parameter.rstrip("]") in source
