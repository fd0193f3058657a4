"""Several properties at once: bundles that hypothesis puts together from the tables' changes.

A bundle of cases is explained by the rows of ``differences.py`` that explain one of them.
"""

from __future__ import annotations

import copy

import pytest
from differential.bundles import BASE, CASES, Config
from differential.comparison import Comparison, names_of
from differential.differences import DELIBERATE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from newroot.testing.needs import needs

pytestmark = [
    needs("root", "gcc", "runc"),
    pytest.mark.timeout(600),
]


def _combines(name: str) -> bool:
    """Whether the case starts everywhere, so that what stands beside it is seen."""
    case = CASES[name]
    refused = any(
        row.covers([name], "runc", "outcome") and row.example != "base" for row in DELIBERATE
    )
    return (
        case.peer == "runc"
        and case.expect.get("outcome", "exit 0") == "exit 0"
        and not (case.words or refused)
        and not name.startswith(("no-", "seccomp-kill", "seccomp-trap", "args-", "bind-the-host"))
    )


PARTS = {
    table: [name for name in names_of(table) if _combines(name)]
    for table in ("process", "mounts", "linux", "resources")
}


def combined(names: tuple[str, ...]) -> Config:
    """The base with all changes of all *names*, and all their probes."""
    config = copy.deepcopy(BASE)
    for name in names:
        for change in CASES[name].changes:
            change(config)
    probes = [probe for name in names for probe in CASES[name].probes]
    config["process"]["args"] = [*config["process"]["args"], *dict.fromkeys(probes)]
    return config


bundles = st.tuples(
    st.sampled_from(PARTS["process"]),
    st.sampled_from(PARTS["mounts"]),
    st.sampled_from(PARTS["mounts"]),
    st.sampled_from(PARTS["linux"]),
)


def check(comparison: Comparison, names: tuple[str, ...]) -> None:
    config = combined(names)
    ours, theirs = comparison.run(config, "runc")
    assert theirs is not None
    comparison.assert_alike(names, CASES["base"], ours, theirs)


QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=12, suppress_health_check=QUIET)
@given(names=bundles)
def test_what_is_alike_alone_is_alike_together(
    comparison: Comparison, names: tuple[str, ...]
) -> None:
    check(comparison, names)


@pytest.mark.slow
@settings(max_examples=100, suppress_health_check=QUIET)
@given(names=bundles)
def test_many_that_are_alike_alone_are_alike_together(
    comparison: Comparison, names: tuple[str, ...]
) -> None:
    check(comparison, names)
