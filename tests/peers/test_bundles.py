"""The tables of bundles are large, and every difference that they list is there.

The bundles are in ``differential/cases_*.py``, the meant differences in ``differences.py``.
"""

from __future__ import annotations

import pytest
from differential.bundles import CASES
from differential.comparison import TABLES, Comparison, names_of
from differential.differences import DELIBERATE, Difference

from newroot.testing.needs import needs

pytestmark = [needs("root", "gcc", "runc", "crun"), pytest.mark.timeout(60)]


def test_there_are_many_and_a_file_runs_each() -> None:
    tables = [table.__name__.rpartition("cases_")[2] for table in TABLES]

    assert len(CASES) >= 400
    assert sum(case.peer is not None for case in CASES.values()) >= 380
    assert sorted(name for table in tables for name in names_of(table)) == sorted(CASES)


@pytest.mark.parametrize("row", DELIBERATE, ids=lambda row: f"{row.example}: {row.facts}")
def test_a_difference_that_is_listed_is_there(comparison: Comparison, row: Difference) -> None:
    assert comparison.shows(row), f"gone, so its row may go: {row}"
