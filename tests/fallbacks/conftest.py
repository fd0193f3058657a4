"""newroot on a kernel that lacks a system call: a seccomp filter answers ENOSYS in its place.

What is hidden stays hidden for a process and all that it starts, so each look is a program of its
own.  A second road is there or it is not (DESIGN: newroot requires Linux 5.14, and
docs/decisions/0018): where it is, it is walked here; where not, one line says what is missing.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from newroot.testing import require
from newroot.testing.roots import tiny_root as make_tiny_root

Hiding = Callable[..., "subprocess.CompletedProcess[str]"]

_PROGRAM = """
import ctypes, struct, sys
from newroot.engine import Engine
from newroot.errors import NewrootError
from newroot.isolation.seccomp import compile_filter
from newroot.linux import syscalls

hidden, state, image, script = sys.argv[1:5]
words = eval(sys.argv[5])
if words.pop("lowerdir_is_unknown", False):
    from newroot.plan import encode

    known = encode.overlay_options
    encode.overlay_options = lambda step: (
        [o.replace("lowerdir+=", "unknown+=") for o in known(step)[0]], known(step)[1]
    )
if hidden:
    rule = {"names": hidden.split(), "action": "SCMP_ACT_ERRNO", "errnoRet": 38}
    program, flags = compile_filter({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
    code = ctypes.create_string_buffer(program, len(program))
    packed = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    fprog = ctypes.create_string_buffer(packed, 16)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    number = syscalls.table(syscalls.native_arch())["seccomp"]
    assert libc.syscall(number, 1, flags, fprog) == 0, ctypes.get_errno()
with Engine(state) as engine:
    try:
        result = engine.run(
            rootfs=image, command=["/bin/sh", "-c", script], capture_output=True, text=True, **words
        )
    except NewrootError as error:
        sys.exit(f"{error}\\nhint: {error.hint}")
    print(result.stdout, end="")
    sys.exit(result.stderr or result.returncode)
"""


@pytest.fixture
def hiding(tmp_path: Path) -> Hiding:
    """``hiding("openat2", script, …)``: the script in a container, where that call is not there."""
    require("root", "busybox", "seccomp")
    image = make_tiny_root(tmp_path / "image")

    def run(
        hidden: str, script: str = "echo ran", suffix: str = ":O", **words: object
    ) -> subprocess.CompletedProcess[str]:
        arguments = [hidden, tmp_path / "state", f"{image}{suffix}", script, repr(words)]
        return subprocess.run(
            [sys.executable, "-c", _PROGRAM, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run
