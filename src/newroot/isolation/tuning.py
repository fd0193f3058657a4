"""How the kernel treats the process: ``process.scheduler``, ``ioPriority``, ``execCPUAffinity`` and
``linux.personality``, ``memoryPolicy`` of a runtime config become steps.  Pure.

Values that runc knows by name are known here; what this kernel makes of them it says itself.
"""

from __future__ import annotations

from newroot.errors import SpecError
from newroot.linux import constants as k
from newroot.plan import steps as s

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

POLICIES = {
    "SCHED_OTHER": k.SCHED_NORMAL,
    "SCHED_FIFO": k.SCHED_FIFO,
    "SCHED_RR": k.SCHED_RR,
    "SCHED_BATCH": k.SCHED_BATCH,
    "SCHED_ISO": 4,  # reserved, sched(7); no kernel has it
    "SCHED_IDLE": k.SCHED_IDLE,
    "SCHED_DEADLINE": k.SCHED_DEADLINE,
}
SCHEDULER_FLAGS = {
    f"SCHED_FLAG_{name}": getattr(k, f"SCHED_FLAG_{name}")
    for name in (
        "RESET_ON_FORK RECLAIM DL_OVERRUN KEEP_POLICY KEEP_PARAMS UTIL_CLAMP_MIN UTIL_CLAMP_MAX"
    ).split()
}
IO_CLASSES = {
    "IOPRIO_CLASS_RT": k.IOPRIO_CLASS_RT,
    "IOPRIO_CLASS_BE": k.IOPRIO_CLASS_BE,
    "IOPRIO_CLASS_IDLE": k.IOPRIO_CLASS_IDLE,
}
PERSONALITIES = {"LINUX": k.PER_LINUX, "LINUX32": k.PER_LINUX32}
MEMORY_MODES = {
    "MPOL_DEFAULT": k.MPOL_DEFAULT,
    "MPOL_PREFERRED": k.MPOL_PREFERRED,
    "MPOL_BIND": k.MPOL_BIND,
    "MPOL_INTERLEAVE": k.MPOL_INTERLEAVE,
    "MPOL_LOCAL": k.MPOL_LOCAL,
    "MPOL_PREFERRED_MANY": k.MPOL_PREFERRED_MANY,
    "MPOL_WEIGHTED_INTERLEAVE": 6,  # Linux 6.9; not in the headers that we build with
}
MEMORY_FLAGS = {
    "MPOL_F_NUMA_BALANCING": k.MPOL_F_NUMA_BALANCING,
    "MPOL_F_RELATIVE_NODES": k.MPOL_F_RELATIVE_NODES,
    "MPOL_F_STATIC_NODES": k.MPOL_F_STATIC_NODES,
}

_MOST_BITS = 8192  #: more processors (CONFIG_NR_CPUS) or nodes than any kernel is built for
_RT_LOWEST, _RT_HIGHEST = 1, 99  # sched(7)


def tuning_steps(process: dict[str, Any], linux: dict[str, Any]) -> tuple[s.Step, ...]:
    """The steps for what of *process* and *linux* this page is about, but the affinity of exec."""
    return (
        *_scheduler(process.get("scheduler")),
        *_io_priority(process.get("ioPriority")),
        *_personality(linux.get("personality")),
        *_memory_policy(linux.get("memoryPolicy")),
    )


def affinity_steps(process: dict[str, Any], which: str) -> tuple[s.Step, ...]:
    """The processors that ``exec`` begins on (``initial``) or ends up on (``final``)."""
    text = (process.get("execCPUAffinity") or {}).get(which)
    if not text:
        return ()
    cpus = parse_list(text, f"/process/execCPUAffinity/{which}")
    return (s.SetAffinity(cpus=cpus, why="asked for"),)


def parse_list(untrusted: object, pointer: str) -> tuple[int, ...]:
    """Read ``0-3,7``, the kernel's list format: cpuset(7), List format.  Raises SpecError."""
    found: set[int] = set()
    for part in untrusted.strip().split(",") if isinstance(untrusted, str) else ("?",):
        first, dash, last = part.partition("-")
        ends = (first.strip(), last.strip() if dash else first.strip())
        if not all(end.isascii() and end.isdigit() and len(end) < 6 for end in ends):
            raise SpecError(f"{untrusted!r:.100} is not a list as 0-3,7 is", pointer=pointer)
        low, high = map(int, ends)
        if low > high or high >= _MOST_BITS:
            raise SpecError(f"no range: {part.strip()!r}", pointer=pointer)
        found.update(range(low, high + 1))
    return tuple(sorted(found))


def _scheduler(untrusted: dict[str, Any] | None) -> tuple[s.Step, ...]:
    if not untrusted:
        return ()
    at = "/process/scheduler"
    policy = _named(untrusted, "policy", POLICIES, at)
    nice = _integer(untrusted, "nice", -20, 19, at)
    priority = _integer(untrusted, "priority", 0, _RT_HIGHEST, at)
    times = {
        key: _integer(untrusted, key, 0, 2**64 - 1, at) for key in ("runtime", "deadline", "period")
    }
    real_time = policy in (k.SCHED_FIFO, k.SCHED_RR)
    if real_time and priority < _RT_LOWEST:
        raise SpecError("1 to 99 for a real-time policy", pointer=f"{at}/priority")
    # As runc checks them: the kernel would ignore some, and refuse others without a word.
    if priority and not real_time:
        raise SpecError("only SCHED_FIFO and SCHED_RR have a priority", pointer=f"{at}/priority")
    for key, value in times.items():
        if value and policy != k.SCHED_DEADLINE:
            raise SpecError("only SCHED_DEADLINE has that", pointer=f"{at}/{key}")
    return (
        s.SetScheduler(
            policy=policy,
            flags=_flags(untrusted, SCHEDULER_FLAGS, at),
            nice=nice,
            priority=priority,
            runtime_ns=times["runtime"],
            deadline_ns=times["deadline"],
            period_ns=times["period"],
            why="asked for",
        ),
    )


def _io_priority(untrusted: dict[str, Any] | None) -> tuple[s.Step, ...]:
    if not untrusted:
        return ()
    at = "/process/ioPriority"
    return (
        s.SetIoPriority(
            scheduling_class=_named(untrusted, "class", IO_CLASSES, at),
            priority=_integer(untrusted, "priority", 0, 7, at),
            why="asked for",
        ),
    )


def _personality(untrusted: dict[str, Any] | None) -> tuple[s.Step, ...]:
    if not untrusted:
        return ()
    at = "/linux/personality"
    domain = _named(untrusted, "domain", PERSONALITIES, at)
    if untrusted.get("flags"):
        raise SpecError("no flag is supported", pointer=f"{at}/flags")
    return (s.SetPersonality(personality=domain, why="asked for"),)


def _memory_policy(untrusted: dict[str, Any] | None) -> tuple[s.Step, ...]:
    if not untrusted:
        return ()
    at = "/linux/memoryPolicy"
    mode = _named(untrusted, "mode", MEMORY_MODES, at)
    text = untrusted.get("nodes")
    nodes = parse_list(text, f"{at}/nodes") if text else ()
    if nodes and mode in (k.MPOL_DEFAULT, k.MPOL_LOCAL):
        raise SpecError("this mode has no nodes", pointer=f"{at}/nodes")
    # MPOL_PREFERRED without nodes is MPOL_LOCAL: set_mempolicy(2).
    if not nodes and mode not in (k.MPOL_DEFAULT, k.MPOL_LOCAL, k.MPOL_PREFERRED):
        raise SpecError("this mode needs nodes", pointer=f"{at}/nodes")
    flags = _flags(untrusted, MEMORY_FLAGS, at)
    return (s.SetMemoryPolicy(mode=mode | flags, nodes=nodes, why="asked for"),)


def _named(untrusted: dict[str, Any], key: str, known: dict[str, int], pointer: str) -> int:
    name = untrusted.get(key)
    if not isinstance(name, str) or name not in known:
        said = "missing" if name is None else f"unknown: {name!r:.100}"
        raise SpecError(said, pointer=f"{pointer}/{key}", hint=_one_of(known))
    return known[name]


def _flags(untrusted: dict[str, Any], known: dict[str, int], pointer: str) -> int:
    bits = 0
    for index, name in enumerate(untrusted.get("flags") or ()):
        if name not in known:
            raise SpecError(
                f"unknown: {name!r:.100}", pointer=f"{pointer}/flags/{index}", hint=_one_of(known)
            )
        bits |= known[name]
    return bits


def _integer(untrusted: dict[str, Any], key: str, low: int, high: int, pointer: str) -> int:
    value = untrusted.get(key)
    if value is None:
        return 0
    if type(value) is not int or not low <= value <= high:
        raise SpecError(f"not between {low} and {high}: {value!r:.40}", pointer=f"{pointer}/{key}")
    return value


def _one_of(names: Iterable[str]) -> str:
    return "one of " + ", ".join(names)
