"""``newroot pause``, ``unpause``, ``rename`` and ``update``: containers that are there, changed."""

from __future__ import annotations

from newroot.cli.end import CONTAINERS, engine_of
from newroot.cli.failures import each
from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.verbs import VERBS
from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context
    from newroot.container.change import Changes


def _pause(parsed: Parsed, context: Context) -> int:
    return _to_each(parsed, context, engine_of(context).pause)


def _unpause(parsed: Parsed, context: Context) -> int:
    return _to_each(parsed, context, engine_of(context).unpause)


def _update(parsed: Parsed, context: Context) -> int:
    changes, engine = _changes(parsed), engine_of(context)
    return _to_each(parsed, context, lambda name: engine.update(name, changes))


def _to_each(parsed: Parsed, context: Context, do: Callable[[str], None]) -> int:
    def act(name: str) -> None:
        do(name)
        print(name)

    return each(parsed.positionals, act, debug=context.debug)


def _rename(parsed: Parsed, context: Context) -> int:
    name, new = parsed.positionals
    engine_of(context).rename(name, new)
    return 0


def _changes(parsed: Parsed) -> Changes:
    from newroot.container import resources
    from newroot.container.change import Changes
    from newroot.container.keep_options import parse_restart

    memory, cpus, cpuset, pids, restart = (
        parsed.text(word) for word in ("memory", "cpus", "cpuset_cpus", "pids_limit", "restart")
    )
    if {memory, cpus, cpuset, pids, restart} == {None}:
        raise UsageError("nothing to change was given", hint="see newroot update --help")
    policy, most = parse_restart(restart) if restart is not None else (None, 0)
    return Changes(
        memory_bytes=None
        if memory is None
        else resources.parse_memory("0" if memory == "-1" else memory) or 0,
        cpus=None if cpus is None else resources.parse_cpus(cpus) or 0,
        cpuset_cpus=None if cpuset is None else resources.parse_cpuset(cpuset) or "",
        pids_limit=None if pids is None else resources.parse_pids_limit(pids) or 0,
        restart=policy,  # type: ignore[arg-type]
        restart_most=most,
    )


PAUSE = Verb(
    name="pause",
    summary=VERBS["pause"][1],
    run=_pause,
    positionals=CONTAINERS,
    details=(
        "By the freezer of the container's cgroup, which one in the foreground without a limit "
        "has not."
    ),
)

UNPAUSE = Verb(name="unpause", summary=VERBS["unpause"][1], run=_unpause, positionals=CONTAINERS)

RENAME = Verb(
    name="rename",
    summary=VERBS["rename"][1],
    run=_rename,
    positionals=(Positional(name="CONTAINER", completes="container"), Positional(name="NAME")),
)

UPDATE = Verb(
    name="update",
    summary=VERBS["update"][1],
    run=_update,
    flags=(
        Flag(name="cpus", metavar="NUMBER", help="Most CPU time, as 1.5; 0: no limit"),
        Flag(name="cpuset-cpus", metavar="LIST", help="The only CPUs to run on, as 0-3,6"),
        Flag(name="memory", short="m", metavar="SIZE", help="Most memory, as 64m; -1: no limit"),
        Flag(name="pids-limit", metavar="NUMBER", help="Most processes; -1: no limit"),
        Flag(
            name="restart",
            metavar="POLICY",
            help="When to begin anew: no, on-failure[:TIMES], always, unless-stopped",
        ),
    ),
    positionals=CONTAINERS,
    details="What runs is changed at once, and whatever is changed holds for the next start too.",
)
