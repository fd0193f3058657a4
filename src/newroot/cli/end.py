"""``newroot stop``, ``kill`` and ``wait``: containers are asked to end, made to, and waited for."""

from __future__ import annotations

from newroot.cli.failures import each
from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.verbs import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context
    from newroot.engine import Engine


def _stop(parsed: Parsed, context: Context) -> int:
    timeout, signal = timeout_of(parsed), _signal(parsed.text("signal"))
    engine = engine_of(context)

    def stop(name: str) -> None:
        engine.stop(name, signal=signal, timeout=timeout)
        print(name)

    return each(parsed.positionals, stop, debug=context.debug)


def _kill(parsed: Parsed, context: Context) -> int:
    signal = _signal(parsed.text("signal"))
    engine = engine_of(context)

    def kill(name: str) -> None:
        engine.kill(name, 9 if signal is None else signal)
        print(name)

    return each(parsed.positionals, kill, debug=context.debug)


def _wait(parsed: Parsed, context: Context) -> int:
    engine = engine_of(context)
    condition = parsed.text("condition") or "not-running"

    def wait(name: str) -> None:
        code = engine.wait(name, condition)  # type: ignore[arg-type]
        print(-1 if code is None else code, flush=True)

    return each(parsed.positionals, wait, debug=context.debug)


def timeout_of(parsed: Parsed) -> int | None:
    """The seconds of ``--time``; None when it was not given."""
    from newroot.container.keep_options import parse_stop_timeout

    text = parsed.text("time")
    return None if text is None else parse_stop_timeout(text)


def _signal(name: str | None) -> int | None:
    from newroot.linux.signals import signal_number

    return None if name is None else signal_number(name)


def engine_of(context: Context) -> Engine:
    """The engine that a verb works with."""
    from newroot.cli.run import say_warning
    from newroot.engine import Engine

    engine = Engine(context.root, run_root=context.run_root)
    engine.on_warning(say_warning)
    return engine


TIME = Flag(
    name="time", short="t", metavar="SECONDS", help="Kill one that has not ended by then; -1: never"
)
CONTAINERS = (Positional(name="CONTAINER", repeat=True, completes="container"),)

STOP = Verb(
    name="stop",
    summary=VERBS["stop"][1],
    run=_stop,
    flags=(
        TIME,
        Flag(name="signal", short="s", metavar="SIGNAL", completes="signal", help="Ask by this"),
    ),
    positionals=CONTAINERS,
    details=(
        "It is asked by its --stop-signal, and killed after its --stop-timeout. It does not begin "
        "anew, whatever its restart policy; newroot start starts it again."
    ),
)

KILL = Verb(
    name="kill",
    summary=VERBS["kill"][1],
    run=_kill,
    flags=(
        Flag(
            name="signal",
            short="s",
            metavar="SIGNAL",
            completes="signal",
            help="Send this one; without it SIGKILL",
        ),
    ),
    positionals=CONTAINERS,
)

WAIT = Verb(
    name="wait",
    summary=VERBS["wait"][1],
    run=_wait,
    flags=(
        Flag(
            name="condition",
            metavar="WHAT",
            choices=("not-running", "next-exit", "removed"),
            help="What to wait for; without it that it does not run",
        ),
    ),
    positionals=CONTAINERS,
    details="Each exit code is printed on a line of its own; -1 when nobody lived to see the end.",
)
