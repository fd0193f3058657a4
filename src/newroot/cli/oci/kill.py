"""``newroot-oci kill``: send a signal to a container's first process, or to all."""

from __future__ import annotations

from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.oci.verbs import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.oci.verbs import OciContext


def _kill(parsed: Parsed, context: OciContext) -> int:
    from newroot.container.oci_kill import kill
    from newroot.container.oci_state import load

    untrusted_id, *rest = parsed.positionals
    signal = _signal(rest[0] if rest else "SIGTERM")
    if parsed.is_set("regex"):
        from newroot.cli.oci.matching import matching

        for container in matching(context.root, untrusted_id):
            kill(container, signal, everything=parsed.is_set("all"))
        return 0
    kill(load(context.root, untrusted_id), signal, everything=parsed.is_set("all"))
    return 0


def _signal(name: str) -> int:
    from newroot.errors import UsageError
    from newroot.linux.signals import signal_number

    if name == "0":
        return 0  # asks only: kill(2)
    try:
        return signal_number(name)
    except UsageError:
        raise UsageError(f'unknown signal "{name:.40}"', hint="TERM, KILL, or a number") from None


KILL = Verb(
    name="kill",
    summary=VERBS["kill"][1],
    run=_kill,
    flags=(
        Flag(name="all", short="a", help="To all its processes, not only the first"),
        Flag(name="regex", short="r", help="ID is a regular expression: to all that match"),
    ),
    positionals=(Positional(name="ID"), Positional(name="SIGNAL", optional=True)),
)
