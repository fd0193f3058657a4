"""Classic BPF for seccomp: from decisions to a program.  No profile and no names are known here.

The program loads the architecture, then the number, finds the number's place in a binary tree
over ranges of numbers, and there returns, or looks at arguments first: seccomp(2),
linux/filter.h.  While it looks at nothing but architecture and number, the kernel answers from a
bitmap instead of running it (kernel/seccomp.c, seccomp_cache_prepare), so only instructions that
it can follow are used up to there.

Code is made from its end to its beginning, because jumps only go forward: whatever a jump needs
to reach exists already.  A *target* is where to go: a place in the code (0 or more, counted from
the end) or ``ret(value)``, a return that is written near whoever needs it.
"""

from __future__ import annotations

from newroot.linux.constants import (
    BPF_ABS,
    BPF_ALU,
    BPF_AND,
    BPF_JA,
    BPF_JEQ,
    BPF_JGE,
    BPF_JGT,
    BPF_JMP,
    BPF_K,
    BPF_LD,
    BPF_MAXINSNS,
    BPF_RET,
    BPF_W,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    #: (argument, operator, value, value two); operators are OCI's without SCMP_CMP_.
    Condition = tuple[int, str, int, int]
    #: (what to return, conditions that must all hold)
    Rule = tuple[int, tuple[Condition, ...]]
    #: What to return; or whether arguments have 64 bits, and rules of which the first to hold wins.
    Decision = int | tuple[bool, tuple[Rule, ...]]
    #: (first number, decision), up to the next range.
    Range = tuple[int, Decision]

_LOAD = BPF_LD | BPF_W | BPF_ABS
_JA, _JEQ, _JGT, _JGE = (BPF_JMP | op | BPF_K for op in (BPF_JA, BPF_JEQ, BPF_JGT, BPF_JGE))
_AND = BPF_ALU | BPF_AND | BPF_K
_RET = BPF_RET | BPF_K

# struct seccomp_data; the low half of an argument comes first, for x86 and arm are little-endian.
_NR, _ARCH, _ARGS = 0, 4, 16

#: A conditional jump has 8 bits; some are kept back for what may come between.
_REACH = 250
_LOW = 0xFFFF_FFFF


class TooLong(Exception):
    """The program has more instructions than the kernel takes.  Never leaves ``isolation``."""

    length: int

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.length = length


def ret(value: int) -> int:
    """The target that returns *value* (SECCOMP_RET_…) to the kernel."""
    return -1 - value


class Code:
    """A program under construction, from its last instruction to its first."""

    def __init__(self) -> None:
        self._backwards: list[tuple[int, int, int, int]] = []
        self._nearest: dict[int, int] = {}  # target: a place that returns it or leads to it

    def load(self, offset: int, then: int) -> int:
        """Load the word at *offset* of seccomp_data, then go on at *then*."""
        self._fall_into(then)
        return self._put(_LOAD, 0, 0, offset)

    def mask(self, bits: int, then: int) -> int:
        """Keep *bits* of what is loaded, then go on at *then*."""
        self._fall_into(then)
        return self._put(_AND, 0, 0, bits)

    def jump(self, op: int, value: int, if_true: int, if_false: int) -> int:
        """Compare what is loaded with *value*, and go on at one of two targets."""
        if if_true == if_false:
            return if_true
        true, false = self._near(if_true), self._near(if_false)
        here = len(self._backwards)
        return self._put(op, here - true - 1, here - false - 1, value)

    def tree(self, ranges: Sequence[tuple[int, int]]) -> int:
        """Find the target of the loaded word.  *ranges* are (first value, target), from 0 on."""
        if len(ranges) == 1:
            return ranges[0][1]
        middle = len(ranges) // 2
        right = self.tree(ranges[middle:])
        left = self.tree(ranges[:middle])
        return self.jump(_JGE, ranges[middle][0], right, left)

    def program(self, start: int) -> bytes:
        """The finished program, an array of struct sock_filter.  Raises TooLong."""
        from struct import pack

        self._fall_into(start)
        if len(self._backwards) > BPF_MAXINSNS:
            raise TooLong(len(self._backwards))
        return b"".join([pack("=HBBI", *each) for each in reversed(self._backwards)])

    def _put(self, op: int, true: int, false: int, value: int) -> int:
        self._backwards.append((op, true, false, value))
        return len(self._backwards) - 1

    def _fall_into(self, target: int) -> None:
        if target < 0 or target != len(self._backwards) - 1:
            self._lead_to(target)

    def _near(self, target: int) -> int:
        place = self._nearest.get(target, target)
        if place < 0 or len(self._backwards) - place > _REACH:
            place = self._nearest[target] = self._lead_to(target)
        return place

    def _lead_to(self, target: int) -> int:
        if target < 0:
            return self._put(_RET, 0, 0, -1 - target)
        return self._put(_JA, 0, 0, len(self._backwards) - target - 1)


def assemble(
    bodies: Sequence[tuple[int, Sequence[Range]]], *, default: int, bad_arch: int
) -> bytes:
    """The program that decides for each architecture by its own ranges of numbers.

    *bodies* are (AUDIT_ARCH_…, ranges), the likeliest first; *default* is returned where rules do
    not hold, and *bad_arch* for any other architecture.  Raises TooLong.
    """
    code = Code()
    places = []
    for audit_arch, ranges in reversed(bodies):
        targets = [(first, _target(code, what, default)) for first, what in reversed(ranges)]
        places.append((audit_arch, code.load(_NR, code.tree(targets[::-1]))))
    where = ret(bad_arch)
    for audit_arch, place in places:
        where = code.jump(_JEQ, audit_arch, place, where)
    return code.program(code.load(_ARCH, where))


def _target(code: Code, what: Decision, default: int) -> int:
    if isinstance(what, int):
        return ret(what)
    wide, rules = what
    return _rules(code, rules, default, wide)


def _rules(code: Code, rules: Sequence[Rule], default: int, wide: bool) -> int:
    otherwise = ret(default)
    for together in reversed(_switches(rules)):
        if len(together) > 1:
            otherwise = _switch(code, together, otherwise, wide)
            continue
        value, conditions = together[0]
        then = ret(value)
        for condition in reversed(conditions):
            then = _condition(code, condition, then, otherwise, wide)
        otherwise = then
    return otherwise


def _switches(rules: Sequence[Rule]) -> list[list[Rule]]:
    """Put rules together that ask one after the other whether one argument is this, or this."""
    together: list[list[Rule]] = []
    before = None
    for rule in rules:
        _, conditions = rule
        index, op, value, _ = conditions[0]
        about = (index, value >> 32) if len(conditions) == 1 and op == "EQ" else None
        if about is not None and about == before:
            together[-1].append(rule)
        else:
            together.append([rule])
        before = about
    return together


def _switch(code: Code, rules: Sequence[Rule], otherwise: int, wide: bool) -> int:
    """Load the argument once, and compare its low half with one value after the other."""
    index, _, high_value, _ = rules[0][1][0]
    offset = _ARGS + 8 * index
    low = otherwise
    for value, ((_, _, wanted, _),) in reversed(rules):
        low = code.jump(_JEQ, wanted & _LOW, ret(value), low)
    low = code.load(offset, low)
    if not wide:
        return low
    return code.load(offset + 4, code.jump(_JEQ, high_value >> 32, low, otherwise))


def _condition(code: Code, condition: Condition, true: int, false: int, wide: bool) -> int:
    index, op, value, value_two = condition
    offset = _ARGS + 8 * index
    if op == "MASKED_EQ":
        return _masked(code, offset, value, value_two, true, false, wide)
    if op in ("NE", "LT", "LE"):  # the opposites of EQ, GE and GT
        op, true, false = {"NE": "EQ", "LT": "GE", "LE": "GT"}[op], false, true
    low_op = {"EQ": _JEQ, "GE": _JGE, "GT": _JGT}[op]
    # A 32-bit architecture is compared by the low half alone, as in libseccomp, so that a
    # profile's 64-bit -1 is its -1 too.
    low = code.load(offset, code.jump(low_op, value & _LOW, true, false))
    if not wide:
        return low
    high = code.jump(_JEQ, value >> 32, low, false)
    if op != "EQ":
        high = code.jump(_JGT, value >> 32, true, high)
    return code.load(offset + 4, high)


def _masked(
    code: Code, offset: int, mask: int, value: int, true: int, false: int, wide: bool
) -> int:
    then = _masked_half(code, offset, mask & _LOW, value & _LOW, true, false)
    if wide:
        then = _masked_half(code, offset + 4, mask >> 32, value >> 32, then, false)
    return then


def _masked_half(code: Code, offset: int, mask: int, value: int, true: int, false: int) -> int:
    if not mask:
        return true
    # libseccomp cuts the value by the mask too, so that a bit outside it does not matter.
    compare = code.jump(_JEQ, value & mask, true, false)
    return code.load(offset, compare if mask == _LOW else code.mask(mask, compare))
