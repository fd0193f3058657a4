"""Capabilities by name and number, and which of them a container is given: capabilities(7).

Pure but for ``last_cap``, which reads /proc once.  Names are written as the kernel writes them,
``CAP_SYS_ADMIN``; ``parse`` takes what people write.
"""

from __future__ import annotations

from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

#: include/uapi/linux/capability.h: a name's place is its number.
NAMES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
NUMBERS = {name: number for number, name in enumerate(NAMES)}

#: What Docker gives a container that asks for nothing: moby, daemon/pkg/oci/caps/defaults.go.
DOCKER_DEFAULT = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)

ALL = "ALL"


def parse(untrusted_name: str) -> str:
    """The kernel's name of a capability: ``sys_admin`` is ``CAP_SYS_ADMIN``; ``ALL`` stays.

    Raises UsageError, naming the nearest that exist.
    """
    upper = untrusted_name.strip().upper()
    if upper in (ALL, "CAP_ALL"):
        return ALL
    name = upper if upper.startswith("CAP_") else f"CAP_{upper}"
    if name not in NUMBERS:
        raise UsageError(f"{untrusted_name!r} is not a capability", hint=_near(name))
    return name


def apply(
    default: Iterable[str] = DOCKER_DEFAULT,
    add: Iterable[str] = (),
    drop: Iterable[str] = (),
    *,
    privileged: bool = False,
    last: int | None = None,
) -> tuple[str, ...]:
    """The capabilities of a container, by ``--cap-add`` and ``--cap-drop`` as Docker reads them.

    ``ALL`` in *add* takes every one that this kernel has but the dropped; else ``ALL`` in *drop*
    leaves the added alone; else the dropped go first and the added come after, so one that is
    both is given.  *privileged* is every capability, whatever else is said (TweakCapabilities in
    moby's oci/caps).  In the order of their numbers; *last* stands in for ``last_cap()``.

    Raises UsageError for an unknown name, and for an added one that this kernel does not have.
    """
    added, dropped = set(map(parse, add)), set(map(parse, drop))
    everything = NAMES[: (last_cap() if last is None else last) + 1]
    if privileged:
        return everything
    if ALL in added:
        given = set(everything) - dropped
    elif ALL in dropped:
        given = added
    else:
        given = (set(map(parse, default)) - dropped) | added
    missing = (added - {ALL}).difference(everything)
    if missing:
        raise UsageError(f"this kernel has no {min(missing)}")
    return tuple(name for name in everything if name in given)


def last_cap() -> int:
    """The number of the last capability that this kernel knows and we have a name for."""
    try:
        with open("/proc/sys/kernel/cap_last_cap", "rb", buffering=0) as file:
            return min(int(file.read(16)), len(NAMES) - 1)
    except (OSError, ValueError):
        return NUMBERS["CAP_CHECKPOINT_RESTORE"]  # Linux 5.9, older than any kernel we run on


def held() -> tuple[str, ...]:
    """The capabilities that this process may hand on: its permitted set, capabilities(7)."""
    with open("/proc/self/status", "rb") as file:
        line = next(line for line in file if line.startswith(b"CapPrm:"))
    return names(int(line[7:], 16))


def mask(names: Iterable[str]) -> int:
    """The bits of *names*, which must be the kernel's own names."""
    bits = 0
    for name in names:
        bits |= 1 << NUMBERS[name]
    return bits


def names(bits: int) -> tuple[str, ...]:
    """The names of the bits set in *bits*; a bit without a name is left out."""
    return tuple(name for number, name in enumerate(NAMES) if bits >> number & 1)


def _near(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, NAMES, n=3)
    return f"did you mean {' or '.join(near)}?" if near else "see capabilities(7) for the names"
