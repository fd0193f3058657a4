"""``newroot port``: where the host answers for a container's ports."""

from __future__ import annotations

from newroot.cli.end import engine_of
from newroot.cli.flags import Positional, Verb
from newroot.cli.verbs import VERBS
from newroot.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context


def _port(parsed: Parsed, context: Context) -> int:
    from newroot.container.ports import parse_inside

    name, *wanted = parsed.positionals
    inside = parse_inside(wanted[0]) if wanted else None
    ports = engine_of(context).ports(name)
    if inside is None:
        for port in ports:
            print(f"{port.inside} -> {port.outside}")
        return 0
    found = [port.outside for port in ports if port.inside == inside]
    if not found:
        raise NotFound(f"container {name} has no port {inside} that is published")
    print("\n".join(found))
    return 0


PORT = Verb(
    name="port",
    summary=VERBS["port"][1],
    run=_port,
    positionals=(
        Positional(name="CONTAINER", completes="container"),
        Positional(name="PORT[/PROTOCOL]", optional=True),
    ),
)
