"""Filters of ours in the kernel: loaded in a child, which then tries system calls."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
from contextlib import suppress

import pytest

from newroot.isolation.seccomp import compile_filter
from newroot.isolation.seccomp_default import compiled_default
from newroot.linux import constants as c
from newroot.linux import syscalls
from newroot.linux.capabilities import DOCKER_DEFAULT
from newroot.testing.needs import needs

pytestmark = needs("seccomp")

ARCH = syscalls.native_arch()


def load(program: bytes, flags: int) -> int:
    """Load a filter into this process: seccomp(2).  Returns the listener's descriptor, or 0."""
    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    if libc.prctl(c.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    number = syscalls.table(ARCH)["seccomp"]
    result = libc.syscall(number, c.SECCOMP_SET_MODE_FILTER, flags, fprog)
    if result < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return result


def under(compiled: tuple[bytes, int], *calls: tuple[object, ...]) -> list[int] | int:
    """Make *calls* under a filter: their results (-errno for a failure), or minus the signal."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            libc = ctypes.CDLL(None, use_errno=True)
            table = syscalls.table(ARCH)
            load(*compiled)
            results = []
            for name, *args in calls:
                number = table[name] if isinstance(name, str) else name
                words = [ctypes.c_ulong(arg) for arg in args]
                result = libc.syscall(ctypes.c_long(number), *words)
                results.append(-ctypes.get_errno() if result < 0 else result)
            os.write(writer, struct.pack(f"{len(results)}l", *results))
            os._exit(0)
        os._exit(99)
    os.close(writer)
    with open(reader, "rb") as file:
        text = file.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        return code
    return [each for (each,) in struct.iter_unpack("l", text)]


def denying(name: str, action: str, *args: dict[str, object], **more: object) -> tuple[bytes, int]:
    rule = {"names": [name], "action": action, "args": list(args), **more}
    return compile_filter({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})


def test_errno_is_returned_and_everything_else_works():
    found = under(denying("getpgid", "SCMP_ACT_ERRNO", errnoRet=99), ("getpgid", 0), ("getuid",))

    assert found == [-99, os.getuid()]


def test_errno_zero_is_success_without_doing_it():
    assert under(denying("getpgid", "SCMP_ACT_ERRNO", errnoRet=0), ("getpgid", 0)) == [0]


def test_log_lets_the_call_through():
    assert under(denying("getpgid", "SCMP_ACT_LOG"), ("getpgid", 0)) == [os.getpgid(0)]


def test_trace_without_a_tracer_is_enosys():
    assert under(denying("getpgid", "SCMP_ACT_TRACE"), ("getpgid", 0)) == [-errno.ENOSYS]


@pytest.mark.parametrize("action", ["KILL", "KILL_THREAD", "KILL_PROCESS", "TRAP"])
def test_kill_and_trap_end_in_sigsys(action):
    assert under(denying("getpgid", f"SCMP_ACT_{action}"), ("getpgid", 0)) == -signal.SIGSYS


@pytest.mark.parametrize(
    ("op", "value", "two", "passes"),
    [
        ("EQ", 2**33, None, [2**33 + 1, 0, 2**33 - 1]),
        ("NE", 2**33, None, [2**33]),
        ("GT", 2**33, None, [2**33, 5, 2**32 + 7]),
        ("GE", 2**33, None, [2**33 - 1, 0]),
        ("LT", 2**33, None, [2**33, 2**33 + 1, 2**64 - 1]),
        ("LE", 2**33, None, [2**33 + 1, 2**40]),
        ("MASKED_EQ", 2**40 | 1, 2**40, [1, 2**40 | 1, 0]),
    ],
)
def test_operators_compare_64_bits(op, value, two, passes):
    condition = {"index": 0, "op": f"SCMP_CMP_{op}", "value": value}
    if two is not None:
        condition["valueTwo"] = two
    compiled = denying("umask", "SCMP_ACT_ERRNO", condition, errnoRet=77)
    fails = [
        each for each in (0, 1, 2**33 - 1, 2**33, 2**33 + 1, 2**40, 2**40 | 4) if each not in passes
    ]
    fails = [each for each in fails if holds(op, each, value, two)]

    assert fails
    assert under(compiled, *(("umask", each) for each in fails)) == [-77] * len(fails)
    assert all(each >= 0 for each in under(compiled, *(("umask", each) for each in passes)))


def holds(op, arg, value, two):
    return {
        "EQ": arg == value,
        "NE": arg != value,
        "GT": arg > value,
        "GE": arg >= value,
        "LT": arg < value,
        "LE": arg <= value,
        "MASKED_EQ": arg & value == (two or 0),
    }[op]


def test_flags_are_taken_by_the_kernel():
    flags = [f"SECCOMP_FILTER_FLAG_{each}" for each in ("TSYNC", "LOG", "SPEC_ALLOW")]
    rule = {"names": ["getpgid"], "action": "SCMP_ACT_ERRNO"}
    compiled = compile_filter(
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule], "flags": flags}
    )

    assert under(compiled, ("getpgid", 0)) == [-errno.EPERM]


@needs("seccomp-notify")
def test_notify_gives_a_listener_that_answers():
    """The child's getpgid is answered by its parent, through the listener."""
    rule = {"names": ["getpgid"], "action": "SCMP_ACT_NOTIFY"}
    flags = ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]
    config = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule], "flags": flags}
    program, flag = compile_filter(config)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            os.write(writer, struct.pack("i", load(program, flag)))
            os._exit(os.getpgid(0))
        os._exit(99)
    os.close(writer)
    (number,) = struct.unpack("i", os.read(reader, 4))
    os.close(reader)
    pidfd = os.pidfd_open(pid)
    libc = ctypes.CDLL(None, use_errno=True)
    listener = libc.syscall(syscalls.table(ARCH)["pidfd_getfd"], pidfd, number, 0)
    assert listener >= 0
    import fcntl

    # SECCOMP_IOCTL_NOTIF_RECV and _SEND: linux/seccomp.h
    notification = bytearray(80)
    fcntl.ioctl(listener, 0xC0502100, notification)
    (which,) = struct.unpack_from("Q", notification)
    fcntl.ioctl(listener, 0xC0182101, struct.pack("QqiI", which, 42, 0, 0))
    os.close(listener)
    os.close(pidfd)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 42


def test_default_filter_lets_a_program_live_and_refuses_what_it_should():
    found = under(
        compiled_default(DOCKER_DEFAULT),
        ("getuid",),
        ("umask", 0o22),
        ("mount", 0, 0, 0, 0, 0),
        ("unshare", 0),
        ("keyctl", 0, 0, 0, 0, 0),
        ("clone3", 0, 0),
        ("socket", 38, 5, 0),
        ("socket", 40, 1, 0),
        ("personality", 0xFFFFFFFF),
        ("personality", 0x0040000),
        (2000,),
    )

    assert isinstance(found, list)
    assert found[0] == os.getuid()
    assert found[2:8] == [-1, -1, -1, -errno.ENOSYS, -1, -1]
    assert found[8] >= 0
    assert found[9:] == [-1, -errno.ENOSYS]


@pytest.mark.skipif(ARCH != "x86_64", reason="x32 is of x86_64")
def test_x32_number_is_killed_where_x32_is_not_listed():
    compiled = denying("getpgid", "SCMP_ACT_ERRNO")

    assert under(compiled, (0x40000000 + syscalls.table("x86_64")["getuid"],)) == -signal.SIGSYS


def test_longest_filter_that_we_let_through_is_one_that_the_kernel_takes():
    rules = [
        {
            "names": ["getpgid"],
            "action": "SCMP_ACT_ERRNO",
            "args": [{"index": 0, "op": "SCMP_CMP_GT", "value": 2**40 + n}],
        }
        for n in range(790)
    ]
    compiled = compile_filter({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules})

    assert 3900 < len(compiled[0]) // 8 <= 4096
    assert under(compiled, ("getpgid", 0)) == [os.getpgid(0)]
