"""Run a seccomp filter on paper: what would the kernel be told for this system call?

A small machine for the classic BPF that seccomp(2) accepts, for tests of filters and for people who
ask what a profile does.  It refuses what the kernel refuses at load time: an unknown
instruction, a jump beyond the end, a load off the words of struct seccomp_data.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache

LOAD, AND, RET = 0x20, 0x54, 0x06
JA, JEQ, JGT, JGE, JSET = 0x05, 0x15, 0x25, 0x35, 0x45
_TESTS: dict[int, Callable[[int, int], bool]] = {
    JEQ: lambda a, k: a == k,
    JGT: lambda a, k: a > k,
    JGE: lambda a, k: a >= k,
    JSET: lambda a, k: bool(a & k),
}


@lru_cache(maxsize=8)
def instructions(program: bytes) -> tuple[tuple[int, int, int, int], ...]:
    """The instructions (code, jt, jf, k) of a program, an array of struct sock_filter."""
    return tuple(struct.iter_unpack("=HBBI", program))


def run_filter(program: bytes, audit_arch: int, number: int, args: Sequence[int] = ()) -> int:
    """What *program* returns (SECCOMP_RET_… with its data) for a system call.

    Raises ValueError where the kernel would not have loaded the program.
    """
    return walk_filter(program, audit_arch, number, args)[0]


def walk_filter(
    program: bytes, audit_arch: int, number: int, args: Sequence[int] = ()
) -> tuple[int, int]:
    """What *program* returns, and how many instructions that took."""
    padded = [*args, 0, 0, 0, 0, 0, 0][:6]
    words = [number, audit_arch, 0, 0]
    for arg in padded:
        words += [arg & 0xFFFFFFFF, arg >> 32 & 0xFFFFFFFF]
    code = instructions(program)
    at = steps = accumulator = 0
    while True:
        if at >= len(code):
            raise ValueError("the program runs beyond its end")
        op, true, false, k = code[at]
        at += 1
        steps += 1
        if op == RET:
            return k, steps
        if op == LOAD:
            if k % 4 or k // 4 >= len(words):
                raise ValueError(f"load from offset {k}")
            accumulator = words[k // 4]
        elif op == AND:
            accumulator &= k
        elif op == JA:
            at += k
        elif op in _TESTS:
            at += true if _TESTS[op](accumulator, k) else false
        else:
            raise ValueError(f"instruction {op:#x}")
