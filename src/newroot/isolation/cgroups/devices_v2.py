"""Device rules on cgroup v2: an eBPF program, and bpf(2) to attach it.

cgroup v2 has no device files.  A program of type BPF_PROG_TYPE_CGROUP_DEVICE, attached to the
cgroup, is asked at every open and mknod of a device and answers 1 or 0.  ``program()`` is pure
and gives the instructions as bytes; ``attach()`` is the only part that speaks to the kernel, by
ctypes, which is imported only then.  It wants CAP_BPF and CAP_NET_ADMIN or CAP_SYS_ADMIN; the
memory counts to our cgroup, not to RLIMIT_MEMLOCK, since Linux 5.11.
"""

from __future__ import annotations

import os
import sys

from newroot.errors import UnsupportedError
from newroot.isolation.cgroups.devices import ANY

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ctypes

    from newroot.isolation.cgroups.devices import Rule, Rules

# linux/bpf.h, struct bpf_cgroup_dev_ctx: access_type is (access << 16) | type.
_TYPES = {"b": 1, "c": 2}
_ACCESS = {"m": 1, "r": 2, "w": 4}
_EVERY_ACCESS = 7

# Opcodes: Documentation/bpf/standardization/instruction-set.rst.  The comparisons are of the
# JMP32 class, so that a number above 2^31 is not taken for a negative one.
_LOAD_WORD = 0x61
_AND_CONSTANT = 0x54
_SHIFT_RIGHT_CONSTANT = 0x74
_MOVE_REGISTER = 0xBC
_MOVE_CONSTANT = 0xB4
_JUMP_UNLESS_EQUAL = 0x56
_JUMP_UNLESS_EQUAL_REGISTER = 0x5E
_JUMP_IF_BITS = 0x46
_JUMP = 0x05
_EXIT = 0x95

_RESULT, _CONTEXT, _TYPE, _ASKED, _MAJOR, _MINOR, _SCRATCH = 0, 1, 2, 3, 4, 5, 6

_BPF_PROG_LOAD = 5
_BPF_PROG_ATTACH = 8
_BPF_PROG_TYPE_CGROUP_DEVICE = 15
_BPF_CGROUP_DEVICE = 6
_BPF_F_ALLOW_MULTI = 2
#: bpf(2) has no wrapper in the C library; asm/unistd.h.
_SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}


def program(rules: Rules) -> bytes:
    """The instructions that decide by *rules*.  Pure.

    An allowing exception must cover all that is asked; a denying one need only touch it, so that
    opening read-write is refused where writing is.
    """
    code = [
        _instruction(_LOAD_WORD, _TYPE, _CONTEXT),
        _instruction(_MOVE_REGISTER, _ASKED, _TYPE),
        _instruction(_AND_CONSTANT, _TYPE, constant=0xFFFF),
        _instruction(_SHIFT_RIGHT_CONSTANT, _ASKED, constant=16),
        _instruction(_LOAD_WORD, _MAJOR, _CONTEXT, offset=4),
        _instruction(_LOAD_WORD, _MINOR, _CONTEXT, offset=8),
    ]
    for rule in rules.exceptions:
        code += _exception(rule, allow=not rules.allow)
    return b"".join([*code, *_answer(allow=rules.allow)])


def _exception(rule: Rule, *, allow: bool) -> list[bytes]:
    """Answer when the rule fits; go on behind the block when it does not."""
    tests: list[tuple[int, int, int, int]] = [(_JUMP_UNLESS_EQUAL, _TYPE, 0, _TYPES[rule.kind])]
    access = sum(_ACCESS[letter] for letter in rule.access)
    block: list[bytes] = []
    if rule.major != ANY:
        tests.append((_JUMP_UNLESS_EQUAL, _MAJOR, 0, rule.major))
    if rule.minor != ANY:
        tests.append((_JUMP_UNLESS_EQUAL, _MINOR, 0, rule.minor))
    access_test = _access_test(access, allow=allow)
    # Each jump skips the tests behind it, the access test and the two instructions of the answer.
    behind = len(access_test) + 2
    for place, (code, left, right, constant) in enumerate(tests):
        skip = len(tests) - place - 1 + behind
        block.append(_instruction(code, left, right, offset=skip, constant=constant))
    return [*block, *access_test, *_answer(allow=allow)]


def _access_test(access: int, *, allow: bool) -> list[bytes]:
    if access == _EVERY_ACCESS:
        return []
    if allow:  # all that is asked must be in the rule
        return [
            _instruction(_MOVE_REGISTER, _SCRATCH, _ASKED),
            _instruction(_AND_CONSTANT, _SCRATCH, constant=access),
            _instruction(_JUMP_UNLESS_EQUAL_REGISTER, _SCRATCH, _ASKED, offset=2),
        ]
    return [
        _instruction(_JUMP_IF_BITS, _ASKED, offset=1, constant=access),
        _instruction(_JUMP, 0, offset=2),
    ]


def _answer(*, allow: bool) -> list[bytes]:
    return [_instruction(_MOVE_CONSTANT, _RESULT, constant=int(allow)), _instruction(_EXIT)]


def _instruction(
    code: int, left: int = 0, right: int = 0, *, offset: int = 0, constant: int = 0
) -> bytes:
    """struct bpf_insn: the two registers share a byte, the first in the machine's low nibble."""
    registers = right << 4 | left if sys.byteorder == "little" else left << 4 | right
    order = sys.byteorder
    return (
        bytes((code, registers))
        + offset.to_bytes(2, order, signed=True)
        + (constant & 0xFFFFFFFF).to_bytes(4, order)
    )


#: Programs that stay loaded, by their instructions: one descriptor each for as long as the
#: process lives.  Loading is three quarters of the cost, and most containers have the same rules.
_loaded: dict[bytes, int] = {}
_KEPT = 4


def attach(directory: str, code: bytes) -> None:
    """Load *code* and attach it to the cgroup at *directory*.

    It stays for as long as the cgroup does, and decides beside whatever is attached above: all
    must say yes.  Raises SyscallError; then nothing is attached.
    """
    loaded = _loaded.get(code)
    kept = loaded is not None
    if loaded is None:
        loaded = _load(code)
        if len(_loaded) < _KEPT:
            kept = _loaded.setdefault(code, loaded) == loaded
    try:
        cgroup = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            words = (cgroup, loaded, _BPF_CGROUP_DEVICE, _BPF_F_ALLOW_MULTI, 0)
            _bpf(_BPF_PROG_ATTACH, _words(*words), "attach a device program", directory)
        finally:
            os.close(cgroup)
    finally:
        if not kept:
            os.close(loaded)


def _load(code: bytes) -> int:
    import ctypes

    instructions = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"Apache-2.0")  # no GPL-only helper is called
    attributes = (
        _words(_BPF_PROG_TYPE_CGROUP_DEVICE, len(code) // 8)
        + ctypes.addressof(instructions).to_bytes(8, sys.byteorder)
        + ctypes.addressof(licence).to_bytes(8, sys.byteorder)
        + bytes(24)  # no verifier log, any kernel version, no flags
        + b"newroot_devices\0"
    )
    return _bpf(
        _BPF_PROG_LOAD, attributes, "load a device program", f"{len(code) // 8} instructions"
    )


_libc: list[ctypes.CDLL] = []


def _words(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, sys.byteorder) for value in values)


def _bpf(command: int, attributes: bytes, doing: str, target: str) -> int:
    import ctypes

    machine = os.uname().machine
    if machine not in _SYS_BPF:
        raise UnsupportedError(
            f"{doing}, on {target}: the number of bpf(2) on {machine} is not known",
            feature="device rules on cgroup v2",
        )
    libc = _libc[0] if _libc else ctypes.CDLL(None, use_errno=True)
    if not _libc:
        _libc.append(libc)
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result: int = libc.syscall(
        ctypes.c_long(_SYS_BPF[machine]),
        ctypes.c_int(command),
        buffer,
        ctypes.c_uint(len(attributes)),
    )
    if result < 0:
        from newroot.isolation.cgroups.files import failure

        error = OSError(ctypes.get_errno(), "")
        raise failure("bpf", target, error, doing=f"{doing}, on {target}")
    return result
