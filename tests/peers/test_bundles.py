"""The same bundle through newroot-oci and through runc or crun: the same view from inside.

    pytest tests/peers/test_bundles.py -k tmpfs-nosuid

The bundles are in ``differential/cases_*.py``, the meant differences in ``differences.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase

import pytest
from differential.bundles import CASES, Case
from differential.differences import DELIBERATE, WAITING, Difference, differing, unexplained
from differential.views import Host, Kit, Outcome, Runtime, run

from newroot.testing.needs import needs

pytestmark = [needs("root", "gcc", "runc", "crun"), pytest.mark.timeout(60)]

Compare = Callable[[Case], tuple[Outcome, Outcome | None]]


@pytest.fixture(scope="module")
def compare(
    kit: Kit, host: Host, pure_host: Host, newroot_oci: Runtime, runc: Runtime, crun: Runtime
) -> Compare:
    """Run a case by newroot-oci, and by its peer if it has one; each case but once."""
    known: dict[str, tuple[Outcome, Outcome | None]] = {}
    #: crun 1.8 wants cgroup v2 alone.
    peers = {"runc": (runc, host), "crun": (crun, pure_host), None: (None, host)}

    def compare(case: Case) -> tuple[Outcome, Outcome | None]:
        if case.name not in known:
            peer, where = peers[case.peer]
            ours = run(kit, where, newroot_oci, case.config())
            known[case.name] = ours, run(kit, where, peer, case.config()) if peer else None
        return known[case.name]

    return compare


def test_there_are_many() -> None:
    assert len(CASES) >= 250
    assert sum(case.peer is not None for case in CASES.values()) >= 200


def _waits(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in WAITING)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.xfail(strict=False)) if _waits(name) else name
        for name in CASES
    ],
)
def test_the_view_is_the_peer_s(compare: Compare, name: str) -> None:
    case = CASES[name]
    ours, theirs = compare(case)

    missed = {fact: ours.facts.get(fact) for fact in case.expect} != dict(case.expect)
    assert not missed, f"{ {f: ours.facts.get(f) for f in case.expect} }\n{ours.errors}"
    assert all(word in ours.errors for word in case.words), ours.errors
    if theirs is not None:
        assert case.peer is not None
        found = unexplained([name], case.peer, ours, theirs)
        assert found == [], "\n".join([*found, ours.errors, theirs.errors])


@pytest.mark.parametrize("row", DELIBERATE, ids=lambda row: f"{row.example}: {row.facts}")
def test_a_difference_that_is_listed_is_there(compare: Compare, row: Difference) -> None:
    ours, theirs = compare(CASES[row.example])
    assert theirs is not None
    found = [fact for fact in differing(ours, theirs) if row.covers([row.example], row.peer, fact)]

    assert found, f"gone, so its row may go: {row}"
