"""CVE-2025-52565: a link at /dev/console, or a false /dev/pts, led a terminal's mount elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from newroot.testing import needs

pytestmark = needs("root", "util-linux")

Without = Callable[..., None]
Bundle = Callable[..., "subprocess.CompletedProcess[str]"]

_PTS = {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance"]}


@pytest.mark.parametrize("link", ["/proc/sysrq-trigger", "/etc/passwd", "../../../etc/passwd"])
def test_a_link_at_dev_console_is_not_followed(run_bundle: Bundle, image: Path, link: str) -> None:
    (image / "dev/console").symlink_to(link)
    done = run_bundle("cat /proc/self/mountinfo; echo ran", [_PTS], terminal=True)

    assert "ran" not in done.stdout, "THE TERMINAL WAS SHOWN IN ANOTHER PLACE"


def test_without_the_guard_it_is_followed(
    run_bundle: Bundle, image: Path, without: Without
) -> None:
    (image / "dev/console").symlink_to("/etc/passwd")
    without("path.c", "how.resolve |= RESOLVE_NO_SYMLINKS;", ";")
    done = run_bundle("grep -c ' /etc/passwd ' /proc/self/mountinfo", [_PTS], terminal=True)

    # script(1) may show the end of its input, a ^@, before the answer.
    assert done.stdout.replace("^@", "").split() == ["1"]


@pytest.mark.parametrize("made", ["fifo", "directory", "nothing"])
def test_a_false_devpts_is_not_opened(run_bundle: Bundle, image: Path, made: str) -> None:
    """To open is to act: a fifo would have held the start for ever, a tape would be rewound."""
    (image / "dev/pts").mkdir()
    if made == "fifo":
        os.mkfifo(image / "dev/pts/ptmx")
    if made == "nothing":
        shutil.rmtree(image / "dev/pts")
    done = run_bundle("echo ran", terminal=True)

    assert "ran" not in done.stdout


def test_without_the_guard_a_false_one_is_opened(
    run_bundle: Bundle, image: Path, without: Without
) -> None:
    (image / "dev/pts").mkdir()
    (image / "dev/pts/ptmx").write_text("no terminal")
    guarded = run_bundle("true", terminal=True)
    without("terminal.c", "if (!is_on (pts, DEVPTS_SUPER_MAGIC))", "if (0)")
    done = run_bundle("true", terminal=True)

    assert "ENODEV" in guarded.stdout
    assert "ENOTTY" in done.stdout, "it was opened, and asked for a terminal"
