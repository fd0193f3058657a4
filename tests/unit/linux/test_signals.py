"""Signals by every spelling that people use."""

from __future__ import annotations

import signal

import pytest

from newroot.errors import UsageError
from newroot.linux.signals import signal_name, signal_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("TERM", 15),
        ("sigkill", 9),
        ("15", 15),
        (9, 9),
        ("SIGRTMIN", 34),
        ("rtmin+3", 37),
        ("SIGRTMAX", 64),
        ("SIGRTMAX-1", 63),
        ("SIGCLD", 17),
        ("POLL", 29),
    ],
)
def test_signals_are_found_by_every_spelling(text, number):
    assert number == signal_number(text)


@pytest.mark.parametrize(
    "text", ["", "NOPE", "0", "65", "-9", "RTMIN+99", "RTMIN+", "9" * 5000, "²"]
)
def test_what_is_no_signal_is_refused(text):
    with pytest.raises(UsageError):
        signal_number(text)


def test_every_number_has_a_name_that_leads_back():
    for number in signal.valid_signals():
        if 31 < number < 34:
            continue

        assert int(number) == signal_number(signal_name(int(number)))
