"""Docker's columns, sizes and ages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.cli.output import age_of, human_age, human_size, print_table


def test_columns_are_three_spaces_apart(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("NAME", "X"), [("a", "long"), ("longer", "")])

    assert capsys.readouterr().out == "NAME     X\na        long\nlonger\n"


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "1kB"),
        (4262853, "4.26MB"),
        (999_600, "1MB"),
        (77_800_000, "77.8MB"),
        (1_234_000_000, "1.23GB"),
    ],
)
def test_sizes_have_three_digits(size: int, expected: str) -> None:
    assert human_size(size) == expected


@given(st.integers(0, 10**17))
def test_a_size_is_short(size: int) -> None:
    assert len(human_size(size)) <= 6


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.4, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (45 * 60, "45 minutes"),
        (3600, "About an hour"),
        (7200, "2 hours"),
        (47 * 3600, "47 hours"),
        (3 * 86400, "3 days"),
        (14 * 86400, "2 weeks"),
        (60 * 86400, "2 months"),
        (730 * 86400, "2 years"),
    ],
)
def test_ages_are_docker_s(seconds: float, expected: str) -> None:
    assert human_age(seconds) == expected


def test_an_age_of_no_time_is_not_available() -> None:
    assert age_of("") == "N/A"
    assert age_of("2001-01-01T00:00:00Z").endswith(" years ago")
    assert age_of("2001-01-01T00:00:00.123456789+02:00").endswith(" years ago")
