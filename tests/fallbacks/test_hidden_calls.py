"""Each call that newroot cannot do without, hidden: one line that says so, and nothing remains."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from newroot.testing import needs

pytestmark = needs("root")

Hiding = Callable[..., "subprocess.CompletedProcess[str]"]

_REQUIRED = (
    *("clone3", "openat2", "mount_setattr", "open_tree", "move_mount", "fsopen", "fsconfig"),
    *("fsmount", "pivot_root"),
)


def test_with_nothing_hidden_it_runs(hiding: Hiding) -> None:
    done = hiding("")

    assert (done.stdout, done.stderr) == ("ran\n", "")


@pytest.mark.parametrize("call", _REQUIRED)
def test_one_line_says_which_call_is_missing_and_what_kernel_has_it(
    hiding: Hiding, tmp_path: Path, call: str
) -> None:
    done = hiding(call, volumes=[f"{tmp_path}:/home"])
    message, _, hint = done.stderr.rstrip("\n").partition("\n")

    assert done.stdout == ""
    assert "does not have the system call" in message
    assert message.endswith("(ENOSYS)")
    assert "newroot needs Linux 5.14" in hint
    assert "\n" not in hint


def test_without_fsconfig_s_lowerdir_a_root_is_mounted_by_mount_2(
    hiding: Hiding,
) -> None:
    """Before Linux 6.7 overlay knows no lowerdir+: the first option is then refused."""
    done = hiding("", "grep -c lowerdir=/ /proc/self/mountinfo", lowerdir_is_unknown=True)

    assert (done.stdout, done.stderr) == ("1\n", "")


@pytest.mark.parametrize("call", ["pidfd_getfd", "close_range"])
def test_what_protects_is_never_left_out_in_silence(hiding: Hiding, call: str) -> None:
    """A start may do without what it does not use; not without what closes descriptors."""
    done = hiding(call)

    assert done.stdout == ("ran\n" if call == "pidfd_getfd" else "")
