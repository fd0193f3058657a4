"""Docker's words for restarts, logs and the time to stop."""

from __future__ import annotations

import pytest

from newroot.container.keep_options import (
    parse_log_driver,
    parse_log_options,
    parse_restart,
    parse_stop_timeout,
)
from newroot.container.visit import parse_keys
from newroot.container.words import read_settings
from newroot.errors import UsageError


@pytest.mark.parametrize(
    ("text", "read"),
    [("no", ("no", 0)), ("always", ("always", 0)), ("on-failure:3", ("on-failure", 3))],
)
def test_a_restart_policy_may_have_a_number(text: str, read: tuple[str, int]) -> None:
    assert parse_restart(text) == read


@pytest.mark.parametrize("text", ["", "never", "always:3", "on-failure:", "on-failure:x"])
def test_what_is_no_restart_policy_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="restart policy"):
        parse_restart(text)


def test_a_log_has_a_size_and_a_number_of_files() -> None:
    assert parse_log_options(["max-size=10m", "max-file=5"]) == {
        "log_bytes": 10 << 20,
        "log_files": 5,
    }
    assert parse_log_options(["max-size=-1"]) == {"log_bytes": 0}
    assert parse_log_driver("k8s-file") == "plain"


@pytest.mark.parametrize("option", ["max-file=0", "max-file=100", "max-file=x", "labels=a"])
def test_an_option_that_a_log_does_not_have_is_refused(option: str) -> None:
    with pytest.raises(UsageError, match="log option"):
        parse_log_options([option])


@pytest.mark.parametrize("text", ["-2", "x", "1.5"])
def test_a_stop_timeout_is_whole_seconds(text: str) -> None:
    with pytest.raises(UsageError, match="stop timeout"):
        parse_stop_timeout(text)


def test_a_policy_does_not_go_with_rm() -> None:
    with pytest.raises(UsageError, match="--rm and a restart policy"):
        read_settings({"rm": True, "restart": "always"})


def test_detach_keys_are_what_a_terminal_sends() -> None:
    assert parse_keys("ctrl-p,ctrl-q") == b"\x10\x11"
    assert parse_keys("a,ctrl-[,ctrl-@") == b"a\x1b\0"
    with pytest.raises(UsageError, match="detach key"):
        parse_keys("ctrl-P")
