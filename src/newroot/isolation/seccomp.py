"""``linux.seccomp`` of a runtime config, compiled to the program that the kernel runs: seccomp(2).

Pure and deterministic: the same object gives the same bytes, without libseccomp.  A profile means
what runc and libseccomp make of it:

- A call by an architecture that the profile does not list kills the thread (libseccomp's
  SCMP_FLTATR_ACT_BADARCH); the machine's own architecture is always listed.
- A name that the architecture does not have is passed over, and so is a rule with the default
  action.
- A rule without conditions beats all others for that system call, and the first such rule
  stands.  The rules with conditions are tried in their order, and the first to hold decides.
- Conditions of one rule must all hold; but when two of them look at the same argument, each
  stands for itself (runc, libcontainer/seccomp/seccomp_linux.go, matchCall).
- A number above the highest one that the profile names is younger than the profile: it
  fails with ENOSYS where the default action would deny, so that programs fall back (runc,
  libcontainer/seccomp/patchbpf).

Different from libseccomp: on i386 a rule with conditions for socket(2) and its like reaches
socketcall(2) and ipc(2) only if it denies, for a filter cannot look at their arguments.
"""

from __future__ import annotations

from newroot.errors import SpecError
from newroot.linux import constants as c
from newroot.linux import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from newroot.isolation.seccomp_bpf import Condition, Decision, Range, Rule

    #: (names, what to return, alternatives of conditions)
    Entry = tuple[list[str], int, list[tuple[Condition, ...]]]

POINTER = "/linux/seccomp"

ACTIONS = {
    "SCMP_ACT_KILL": c.SECCOMP_RET_KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": c.SECCOMP_RET_KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": c.SECCOMP_RET_KILL_PROCESS,
    "SCMP_ACT_TRAP": c.SECCOMP_RET_TRAP,
    "SCMP_ACT_ERRNO": c.SECCOMP_RET_ERRNO,
    "SCMP_ACT_TRACE": c.SECCOMP_RET_TRACE,
    "SCMP_ACT_LOG": c.SECCOMP_RET_LOG,
    "SCMP_ACT_ALLOW": c.SECCOMP_RET_ALLOW,
    "SCMP_ACT_NOTIFY": c.SECCOMP_RET_USER_NOTIF,
}
OPERATORS = tuple(f"SCMP_CMP_{op}" for op in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"))
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": c.SECCOMP_FILTER_FLAG_TSYNC,
    "SECCOMP_FILTER_FLAG_LOG": c.SECCOMP_FILTER_FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": c.SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": c.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
}

#: OCI's architectures and our tables.  None: no machine that we run on enters its kernel that way.
ARCHES: dict[str, str | None] = {
    "SCMP_ARCH_X86_64": "x86_64",
    "SCMP_ARCH_X86": "i386",
    "SCMP_ARCH_X32": "x32",
    "SCMP_ARCH_AARCH64": "aarch64",
    "SCMP_ARCH_ARM": "arm",
} | dict.fromkeys(
    f"SCMP_ARCH_{name}"
    for name in (
        "MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE S390 S390X"
        " PARISC PARISC64 RISCV64 LOONGARCH64 M68K SH SHEB"
    ).split()
)

#: Which architectures a kernel can be entered by, and how it calls them; the likeliest first.
_ENTRIES = {
    "x86_64": ((c.AUDIT_ARCH_X86_64, ("x86_64", "x32")), (c.AUDIT_ARCH_I386, ("i386",))),
    "i386": ((c.AUDIT_ARCH_I386, ("i386",)),),
    "aarch64": ((c.AUDIT_ARCH_AARCH64, ("aarch64",)), (c.AUDIT_ARCH_ARM, ("arm",))),
    "arm": ((c.AUDIT_ARCH_ARM, ("arm",)),),
}
# libseccomp compares x32 arguments as 32 bits, too: arch-x32.c.
_WIDE = ("x86_64", "aarch64")

_ENOSYS = c.SECCOMP_RET_ERRNO | 38
_PERMISSIVE = (c.SECCOMP_RET_ALLOW, c.SECCOMP_RET_LOG, c.SECCOMP_RET_TRACE)
_HIGHEST = 0xFFFF_FFFF

#: linux/net.h and linux/ipc.h: the first argument of socketcall(2) and of ipc(2), i386 only.
_SOCKETCALL = (
    "socket bind connect listen accept getsockname getpeername socketpair send recv sendto"
    " recvfrom shutdown setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg"
).split()
_IPC = {
    "semop": 1, "semget": 2, "semctl": 3, "semtimedop": 4,
    "msgsnd": 11, "msgrcv": 12, "msgget": 13, "msgctl": 14,
    "shmat": 21, "shmdt": 22, "shmget": 23, "shmctl": 24,
}  # fmt: skip


def compile_filter(
    seccomp: dict[str, object], *, arch: str | None = None, pointer: str = POINTER
) -> tuple[bytes, int]:
    """Compile an OCI seccomp object into a program and the flags to load it with.

    *arch* is the machine's, as ``linux.syscalls`` calls it; this machine's by default.  The flags
    include SECCOMP_FILTER_FLAG_NEW_LISTENER where a rule notifies.

    Raises SpecError with the place below *pointer*, and UnsupportedError on a machine whose
    system calls we have no table of.
    """
    from newroot.isolation import seccomp_bpf

    native = arch or syscalls.native_arch()
    default = _default_action(seccomp, pointer)
    rules = _parse_syscalls(seccomp, pointer)
    notifies = any(value == c.SECCOMP_RET_USER_NOTIF for _, value, _ in rules)
    flags = _parse_flags(seccomp, pointer, notifies)
    listed = {native, *_parse_architectures(seccomp, pointer)}
    bodies = []
    for audit_arch, abis in _ENTRIES[native]:
        present = [abi for abi in abis if abi in listed]
        if present:
            bodies.append((audit_arch, _ranges(abis, present, rules, default)))
    try:
        program = seccomp_bpf.assemble(bodies, default=default, bad_arch=c.SECCOMP_RET_KILL_THREAD)
    except seccomp_bpf.TooLong as error:
        raise SpecError(
            f"the filter needs {error.length} instructions, and the kernel takes {c.BPF_MAXINSNS}",
            pointer=f"{pointer}/syscalls",
            hint="name fewer system calls with conditions, or fewer architectures",
        ) from None
    return program, flags


def check_listener(seccomp: dict[str, object], flags: int, pointer: str = POINTER) -> None:
    """Raise SpecError unless somebody is named who answers for a filter with these *flags*."""
    path, metadata = seccomp.get("listenerPath"), seccomp.get("listenerMetadata")
    for key, value in (("listenerPath", path), ("listenerMetadata", metadata)):
        if value is not None and not isinstance(value, str):
            raise SpecError("expected a string", pointer=f"{pointer}/{key}")
    if metadata and not path:
        raise SpecError("there is no listenerPath", pointer=f"{pointer}/listenerMetadata")
    if flags & c.SECCOMP_FILTER_FLAG_NEW_LISTENER and not path:
        raise SpecError("missing: a rule has SCMP_ACT_NOTIFY", pointer=f"{pointer}/listenerPath")


# --- decisions --------------------------------------------------------------------------------


def _ranges(
    abis: tuple[str, ...], present: list[str], rules: list[Entry], default: int
) -> list[Range]:
    """All numbers from 0 to 2^32 - 1 as ranges of one decision each."""
    decided: dict[int, Decision] = {}
    gaps: list[tuple[int, int]] = []  # (first number, decision where no rule speaks)
    for abi in abis:
        first = syscalls.X32_SYSCALL_BIT if abi == "x32" else 0
        if abi not in present:
            # -1 is a call that a tracer has skipped; libseccomp lets the default speak.
            gaps += [(first, c.SECCOMP_RET_KILL_THREAD), (_HIGHEST, default)]
            continue
        found, newest = _decide(abi, rules, default)
        decided |= found
        gaps.append((first, default))
        if newest > 0 and default & c.SECCOMP_RET_ACTION_FULL not in _PERMISSIVE:
            gaps.append((newest + 1, _ENOSYS))
    return _merge(decided, gaps)


def _decide(abi: str, rules: list[Entry], default: int) -> tuple[dict[int, Decision], int]:
    """What the rules say of each number of *abi*, and the highest number that they name."""
    table = syscalls.table(abi)
    always: dict[int, Decision] = {}
    sometimes: dict[int, list[Rule]] = {}
    newest = 0
    for names, value, alternatives in rules:
        for name in names:
            number = table.get(name)
            if number is not None:
                newest = max(newest, number)
            if value == default:
                continue
            for called, all_of in _calls(abi, table, number, name, value, alternatives):
                if not all_of:
                    always.setdefault(called, value)
                else:
                    sometimes.setdefault(called, []).append((value, all_of))
    wide = abi in _WIDE
    return {**{nr: (wide, tuple(each)) for nr, each in sometimes.items()}, **always}, newest


def _calls(
    abi: str,
    table: dict[str, int],
    number: int | None,
    name: str,
    value: int,
    alternatives: list[tuple[Condition, ...]],
) -> list[tuple[int, tuple[Condition, ...]]]:
    """The numbers by which *name* can be called on *abi*, each with its conditions."""
    calls = [] if number is None else [(number, all_of) for all_of in alternatives]
    if abi == "i386" and (not any(alternatives) or value not in _PERMISSIVE):
        if name in _SOCKETCALL:
            which = _SOCKETCALL.index(name) + 1
            calls.append((table["socketcall"], ((0, "EQ", which, 0),)))
        elif name in _IPC:
            calls.append((table["ipc"], ((0, "EQ", _IPC[name], 0),)))
    return calls


def _merge(decided: dict[int, Decision], gaps: list[tuple[int, int]]) -> list[Range]:
    """One list of ranges, none beside another with the same decision."""
    points = dict(gaps)
    ranges: list[Range] = []
    gap = iter([*sorted(points), _HIGHEST + 1])
    following, silent = next(gap), 0
    for number in sorted({*decided, *points, *(nr + 1 for nr in decided if nr < _HIGHEST)}):
        while number >= following:
            silent, following = points[following], next(gap)
        what = decided.get(number, silent)
        if not ranges or ranges[-1][1] != what:
            ranges.append((number, what))
    return ranges


# --- reading the object -----------------------------------------------------------------------


def _default_action(seccomp: dict[str, object], pointer: str) -> int:
    default = _action(seccomp, "defaultAction", "defaultErrnoRet", pointer)
    if default == c.SECCOMP_RET_USER_NOTIF:
        # Nobody could hand the listener over: the call that does it would wait for it.
        raise SpecError("SCMP_ACT_NOTIFY cannot be the default", pointer=f"{pointer}/defaultAction")
    return default


def _action(untrusted: dict[str, object], key: str, errno_key: str, pointer: str) -> int:
    name = untrusted.get(key)
    if not isinstance(name, str) or name not in ACTIONS:
        raise SpecError(
            f"{_show(name)} is not an action", pointer=f"{pointer}/{key}", hint=_one_of(ACTIONS)
        )
    action = ACTIONS[name]
    errno = untrusted.get(errno_key)
    if name not in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        if errno is not None:
            raise SpecError(f"{name} returns no errno", pointer=f"{pointer}/{errno_key}")
        return action
    if errno is None:
        return action | 1  # EPERM: config-linux.md, Seccomp
    highest = c.MAX_ERRNO if name == "SCMP_ACT_ERRNO" else c.SECCOMP_RET_DATA
    return action | _integer(errno, f"{pointer}/{errno_key}", highest)


def _parse_syscalls(seccomp: dict[str, object], pointer: str) -> list[Entry]:
    rules = []
    for index, item in enumerate(_list(seccomp, "syscalls", pointer)):
        here = f"{pointer}/syscalls/{index}"
        if not isinstance(item, dict):
            raise SpecError("must be an object", pointer=here)
        names = _names(item, here)
        value = _action(item, "action", "errnoRet", here)
        if value == c.SECCOMP_RET_USER_NOTIF and "write" in names:
            # As runc: the descriptor of the listener is announced by a write.
            raise SpecError("write cannot notify", pointer=f"{here}/names/{names.index('write')}")
        rules.append((names, value, _alternatives(item, here)))
    return rules


def _names(rule: dict[str, object], pointer: str) -> list[str]:
    names: list[str] = []
    for index, name in enumerate(_list(rule, "names", pointer)):
        if not isinstance(name, str) or not name:
            raise SpecError("must be a name", pointer=f"{pointer}/names/{index}")
        names.append(name)
    if not names:
        raise SpecError("must name a system call", pointer=f"{pointer}/names")
    return names


def _alternatives(rule: dict[str, object], pointer: str) -> list[tuple[Condition, ...]]:
    conditions = tuple(
        _condition(item, f"{pointer}/args/{index}")
        for index, item in enumerate(_list(rule, "args", pointer))
    )
    if len({condition[0] for condition in conditions}) < len(conditions):
        return [(condition,) for condition in conditions]
    return [conditions]


def _condition(untrusted: object, pointer: str) -> Condition:
    if not isinstance(untrusted, dict):
        raise SpecError("must be an object", pointer=pointer)
    op = untrusted.get("op")
    if op not in OPERATORS:
        raise SpecError(
            f"{_show(op)} is not an operator", pointer=f"{pointer}/op", hint=_one_of(OPERATORS)
        )
    index = _integer(untrusted.get("index"), f"{pointer}/index", 5)
    value = _integer(untrusted.get("value"), f"{pointer}/value", 2**64 - 1)
    two = untrusted.get("valueTwo")
    value_two = 0 if two is None else _integer(two, f"{pointer}/valueTwo", 2**64 - 1)
    return index, op.removeprefix("SCMP_CMP_"), value, value_two


def _parse_architectures(seccomp: dict[str, object], pointer: str) -> list[str]:
    found = []
    for index, name in enumerate(_list(seccomp, "architectures", pointer)):
        if not isinstance(name, str) or name not in ARCHES:
            raise SpecError(
                f"{_show(name)} is not an architecture", pointer=f"{pointer}/architectures/{index}"
            )
        arch = ARCHES[name]
        if arch is not None:
            found.append(arch)
    return found


def _parse_flags(seccomp: dict[str, object], pointer: str, notifies: bool) -> int:
    if seccomp.get("flags") is None:
        # No list at all, not even an empty one: runc sets it, for the mitigation costs much
        # and protects little (runc, specconv, SetupSeccomp).
        flags = c.SECCOMP_FILTER_FLAG_SPEC_ALLOW
        return flags | c.SECCOMP_FILTER_FLAG_NEW_LISTENER if notifies else flags
    flags = c.SECCOMP_FILTER_FLAG_NEW_LISTENER if notifies else 0
    for index, name in enumerate(_list(seccomp, "flags", pointer)):
        here = f"{pointer}/flags/{index}"
        if not isinstance(name, str) or name not in FLAGS:
            raise SpecError(f"{_show(name)} is not a flag", pointer=here, hint=_one_of(FLAGS))
        flag = FLAGS[name]
        if flag == c.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV and not notifies:
            raise SpecError("needs a rule with SCMP_ACT_NOTIFY", pointer=here)
        if flag == c.SECCOMP_FILTER_FLAG_TSYNC and notifies:
            flags |= c.SECCOMP_FILTER_FLAG_TSYNC_ESRCH  # else EINVAL: seccomp(2)
        flags |= flag
    return flags


def _list(untrusted: dict[str, object], key: str, pointer: str) -> list[object]:
    value = untrusted.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise SpecError("must be a list", pointer=f"{pointer}/{key}")
    return value


def _integer(untrusted: object, pointer: str, highest: int) -> int:
    if type(untrusted) is not int or not 0 <= untrusted <= highest:
        raise SpecError(f"must be an integer from 0 to {highest}", pointer=pointer)
    return untrusted


def _show(untrusted: object) -> str:
    return "nothing" if untrusted is None else f"{untrusted!r:.100}"


def _one_of(names: Iterable[str]) -> str:
    return "one of " + ", ".join(names)
