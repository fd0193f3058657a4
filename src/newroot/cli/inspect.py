"""``newroot inspect`` and ``container inspect``: all that is known of a thing, by its name.

``inspect`` looks for a container first, then for an image, then for a volume, as docker does;
``--type`` says which is meant.
"""

from __future__ import annotations

from newroot.cli.end import engine_of
from newroot.cli.failures import each
from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.output import print_facts
from newroot.cli.verbs import VERBS
from newroot.errors import NotFound, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context
    from newroot.engine import Engine

    Look = Callable[[Engine, str, bool], dict[str, Any]]


def _container(engine: Engine, name: str, size: bool) -> dict[str, Any]:
    return engine.inspect(name, size=size)


def _image(engine: Engine, name: str, size: bool) -> dict[str, Any]:
    from newroot.cli.image_facts import image_document

    return image_document(engine.images, engine.images.get(name))


def _volume(engine: Engine, name: str, size: bool) -> dict[str, Any]:
    return engine.volumes.get(name).inspect()


_LOOKS: dict[str, Look] = {"container": _container, "image": _image, "volume": _volume}


def _any(engine: Engine, name: str, size: bool) -> dict[str, Any]:
    for look in _LOOKS.values():
        try:
            return look(engine, name, size)
        except (NotFound, UsageError) as error:
            if "is the beginning of" in str(error):
                raise
    raise NotFound(
        f"no container, image or volume {name}",
        hint="newroot ps -a, newroot images and newroot volume ls show all",
    )


def _inspect(parsed: Parsed, context: Context) -> int:
    kind = parsed.text("type")
    return _print(parsed, context, _any if kind is None else _LOOKS[kind])


def _inspect_containers(parsed: Parsed, context: Context) -> int:
    return _print(parsed, context, _container)


def _print(parsed: Parsed, context: Context, look: Look) -> int:
    engine, found = engine_of(context), []

    def add(name: str) -> None:
        found.append(look(engine, name, parsed.is_set("size")))

    code = each(parsed.positionals, add, debug=context.debug)
    print_facts(found, parsed.text("format"))
    return code


_FORMAT = Flag(
    name="format",
    short="f",
    metavar="FORMAT",
    help="Print json on one line, or a line for each, as '{State.Status} {Config.Cmd}'",
)
_SIZE = Flag(name="size", short="s", help="Show what a container takes on the disk too")
_DETAILS = (
    "The names are docker's. {{.State.Status}}, {{json .Mounts}} and {{index .Config.Labels "
    '"a"}} mean what they mean to docker; of Go\'s templates there is no more.'
)

INSPECT = Verb(
    name="inspect",
    summary=VERBS["inspect"][1],
    run=_inspect,
    flags=(
        _FORMAT,
        _SIZE,
        Flag(name="type", metavar="KIND", choices=tuple(_LOOKS), help="What NAME is the name of"),
    ),
    positionals=(Positional(name="NAME", repeat=True, completes="container"),),
    details=f"A container, or else an image, or else a volume. {_DETAILS}",
)

CONTAINER = Verb(
    name="container inspect",
    summary=VERBS["container inspect"][1],
    run=_inspect_containers,
    flags=(_FORMAT, _SIZE),
    positionals=(Positional(name="CONTAINER", repeat=True, completes="container"),),
    details=_DETAILS,
)
