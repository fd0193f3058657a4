"""Moments and durations as Docker reads them."""

from __future__ import annotations

import pytest

from newroot.container.moments import parse_duration, parse_moment
from newroot.errors import UsageError

NOW = 1_795_322_188_000_000_000


@pytest.mark.parametrize(
    ("text", "seconds_back"),
    [("10m", 600), ("1h30m", 5400), ("1.5s", 1.5), ("250ms", 0.25), ("1h0m0.5s", 3600.5)],
)
def test_a_duration_is_counted_back_from_now(text: str, seconds_back: float) -> None:
    assert parse_moment(text, NOW) == NOW - int(seconds_back * 10**9)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-22T04:36:28Z", NOW),
        ("2026-11-22T04:36:28.000000001Z", NOW + 1),
        ("2026-11-22T05:36:28+01:00", NOW),
        ("1795322188", NOW),
        ("1795322188.5", NOW + 500_000_000),
    ],
)
def test_a_moment_may_have_a_zone_or_be_a_number(text: str, moment: int) -> None:
    assert parse_moment(text, 0) == moment


@pytest.mark.parametrize("text", ["", "m", "10x", "1.2.3s", "yesterday", "10", "-5m", "2026-13-01"])
def test_what_is_no_duration_is_none(text: str) -> None:
    assert parse_duration(text) is None


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "-5m", "1.2.3"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="invalid time"):
        parse_moment(text, NOW)
