"""System call tables: numbers that everybody knows, and the headers' own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from newroot.linux import syscalls

ROOT = Path(__file__).parents[3]
HEADERS = ("/usr/aarch64-linux-gnu/include/asm", "/usr/arm-linux-gnueabihf/include/asm")


def test_numbers_that_everybody_knows():
    assert syscalls.number("read", "x86_64") == 0
    assert syscalls.number("execve", "i386") == 11
    assert syscalls.number("openat", "aarch64") == 56
    assert syscalls.number("set_tls", "arm") == 0xF0005
    assert syscalls.number("read", "x32") == 0x4000_0000
    assert syscalls.number("execve", "x32") == 0x4000_0000 + 520
    assert syscalls.number("no_such_call", "x86_64") is None


@pytest.mark.parametrize("arch", syscalls.ARCHES)
def test_newer_calls_have_one_number_everywhere(arch):
    bit = syscalls.X32_SYSCALL_BIT if arch == "x32" else 0

    assert syscalls.number("mount_setattr", arch) == 442 + bit
    assert syscalls.number("listns", arch) == 470 + bit


@pytest.mark.skipif(not all(map(Path.exists, map(Path, HEADERS))), reason="needs the cross headers")
def test_tables_are_what_the_headers_say():
    script = ROOT / "scripts/gen-syscalls"
    done = subprocess.run([sys.executable, script, "--check"], check=False)

    assert done.returncode == 0, "run scripts/gen-syscalls"


def test_native_architecture_is_one_that_has_a_table():
    assert syscalls.table(syscalls.native_arch())["getpid"] > 0


def test_unknown_architecture_is_a_key_error():
    with pytest.raises(KeyError):
        syscalls.table("vax")
