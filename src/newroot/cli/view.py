"""``newroot view``: what the host holds, as one HTML page or as pictures."""

from __future__ import annotations

import os
import sys

from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.verbs import VERBS
from newroot.errors import NotFound, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context


def _view(parsed: Parsed, context: Context) -> int:
    from newroot.cli.view_page import compose
    from newroot.observe.page import drawings, render

    timeline = parsed.text("timeline")
    if parsed.is_set("serve"):
        from newroot.cli.view_server import serve

        if parsed.text("svg") or parsed.text("output"):
            raise UsageError("--serve goes with neither --svg nor --output")
        return serve(lambda: compose(context, parsed.positionals, timeline), _port(parsed))
    page = compose(context, parsed.positionals, timeline)
    name = parsed.text("svg")
    if name is None:
        _write(parsed.text("output"), render(page))
        return 0
    from newroot.observe.drawing import NARROW, WIDE

    found = drawings(page)
    if name not in found:
        raise NotFound(f"no drawing {name!r}", hint=f"there are {', '.join(found)}")
    drawing = found[name](NARROW if parsed.is_set("narrow") else WIDE)
    _write(parsed.text("output"), drawing.svg(alone=True))
    return 0


def _write(path: str | None, text: str) -> None:
    if path is None:
        if sys.stdout.isatty():
            raise UsageError(
                "a page is not for a terminal", hint="newroot view -o FILE.html, or > FILE.html"
            )
        sys.stdout.buffer.write(text.encode())
        return
    beside = f"{path}.{os.urandom(4).hex()}.new"
    try:
        with open(beside, "x", encoding="utf-8") as file:
            file.write(text)
        os.rename(beside, path)
    except BaseException:
        if os.path.lexists(beside):
            os.unlink(beside)
        raise


def _port(parsed: Parsed) -> int:
    text = parsed.text("port") or "0"
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise UsageError(f"--port {text}: this is no port")
    return int(text)


VIEW = Verb(
    name="view",
    summary=VERBS["view"][1],
    run=_view,
    flags=(
        Flag(name="output", short="o", metavar="FILE", completes="file",
             help="Write here, not to standard output"),
        Flag(name="svg", metavar="NAME",
             help="Only one drawing, as SVG: namespaces, layers, mounts, volumes, snapshots, "
             "timeline"),
        Flag(name="narrow", help="Draw it for a narrow sheet"),
        Flag(name="timeline", metavar="FILE", completes="file",
             help="Draw the start that newroot run --timeline FILE.json has measured"),
        Flag(name="serve", help="Serve the page on loopback, and keep it fresh"),
        Flag(name="port", metavar="NUMBER", help="Where --serve listens; by default anywhere"),
    ),
    positionals=(Positional(name="CONTAINER", optional=True, repeat=True,
                            completes="container"),),
    details=(
        "Draws the namespaces and who shares them, each container's root as a stack of layers, its "
        "mounts beside the host's, the volumes and who uses them, the tree of snapshots, and a "
        "start. The page is one file without a script; it needs no network, and is dark where your "
        "system is.\n\n"
        "With a CONTAINER, by name, id or process, only those are opened; without, all that run. "
        "--serve prints an address with a token; only who has it sees the page."
    ),
    examples=(
        ("the page", "newroot view -o host.html"),
        ("one container's layers", "newroot view --svg layers web > layers.svg"),
        ("live in a browser on this machine", "newroot view --serve"),
    ),
)  # fmt: skip
