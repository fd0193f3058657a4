"""CVE-2022-0811 (and CVE-2019-16884, CVE-2025-52881): a sysctl that is not the container's.

A value that one tool splits at a ``+`` sets a second name; a name with a way up in it is another.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE

import pytest

from newroot.engine import Engine
from newroot.errors import NewrootError
from newroot.testing import needs

pytestmark = needs("root")

Without = Callable[..., None]

_CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kernel.core_pattern", "{same}"),
        ("kernel.shm_rmid_forced", "1+kernel.core_pattern={same}"),
        ("kernel/../kernel/core_pattern", "{same}"),
        ("net.ipv4.../../kernel/core_pattern", "{same}"),
        ("net/../kernel/core_pattern", "{same}"),
        ("net.ipv4/../../kernel.core_pattern", "{same}"),
        ("kernel.shm_rmid_forced/../core_pattern", "{same}"),
        ("net.", "{same}"),
        ("net..core_pattern", "{same}"),
        ("kernel.shm*", "1"),
    ],
)
def test_a_setting_that_is_not_the_containers_is_refused(
    engine: Engine, image: Path, name: str, value: str
) -> None:
    # The value that is there, so that nothing of the host changes if this fails.
    same = _CORE_PATTERN.read_text().strip()
    with pytest.raises(NewrootError):
        engine.popen(
            rootfs=f"{image}:O",
            command=["/bin/true"],
            sysctls={name: value.format(same=same)},
        )

    assert _CORE_PATTERN.read_text().strip() == same


def _shm_rmid_forced(engine: Engine, image: Path, without: Without) -> bytes:
    """Set through a /proc that a volume has put a fake into, and read in the kernel's own.

    Nothing may be put there any more, so the guard against that is taken out first.
    """
    without(
        "mount.c",
        "return step->flags & IN_PROC || !is_on (target, PROC_SUPER_MAGIC);",
        "return 1;",
    )
    fake = image.parent / "fake"
    (fake / "kernel").mkdir(parents=True)
    (fake / "kernel/shm_rmid_forced").write_text("0\n")
    result = engine.run(
        rootfs=f"{image}:O",
        command=["/bin/sh", "-c", "true"],
        volumes={str(fake): "/proc/sys"},
        sysctls={"kernel.shm_rmid_forced": "1"},
        security_opt="unmask=/proc/sys",
        stdout=PIPE,
    )
    assert result.fault is None, result.error
    return (fake / "kernel/shm_rmid_forced").read_bytes()


def test_a_sysctl_is_not_written_to_what_stands_in_its_place(
    engine: Engine, image: Path, without: Without
) -> None:
    assert _shm_rmid_forced(engine, image, without) == b"0\n", (
        "WHAT WAS WRITTEN WENT INTO A FAKE /proc"
    )


def test_without_the_guard_it_is(engine: Engine, image: Path, without: Without) -> None:
    without(
        "files.c",
        "static int\nwrite_to_proc (struct run *run, const char *name, const char *value)\n{\n"
        "  int fd CLEANUP_FD = open_private_proc (run, name);",
        "static int\nwrite_to_proc (struct run *run, const char *name, const char *value)\n{\n"
        '  char path[256] = "proc/";\n'
        "  memcpy (path + 5, name, length_of (name) + 1);\n"
        "  int fd CLEANUP_FD = (int)attempt (run, __NR_openat, run->root, path, O_WRONLY, 0);",
    )

    assert _shm_rmid_forced(engine, image, without) != b"0\n"
