"""``newroot explain``: the start of a container, an image or a bundle, as a script with reasons."""

from __future__ import annotations

import os

from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.output import print_json
from newroot.cli.verbs import VERBS
from newroot.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context
    from newroot.plan.steps import Plan


def _explain(parsed: Parsed, context: Context) -> int:
    from newroot.plan.shell import render

    plan = _plan(parsed.positionals[0], context)
    if parsed.text("format") == "json":
        steps = [
            {"step": number, "does": step.explain(), "why": step.why}
            for number, step in enumerate(plan.steps, 1)
        ]
        print_json(steps, indent=2)
    elif parsed.text("format") == "list":
        for number, step in enumerate(plan.steps, 1):
            print(f"{number:3}  {step.explain()}{step.why and f': {step.why}'}")
    else:
        print(render(plan), end="")
    return 0


def _plan(word: str, context: Context) -> Plan:
    """Of a bundle when *word* is a path, else of a container, else of an image."""
    from newroot.container.explain import explain_bundle, explain_container
    from newroot.container.storage import ContainerStorage

    storage = ContainerStorage(context.root, context.run_root)
    if word.startswith((".", "/")) or os.path.isfile(os.path.join(word, "config.json")):
        return explain_bundle(word, storage.mount_point)
    try:
        container_id = storage.resolve(word)
    except NotFound:
        return _image_plan(word, context)
    return explain_container(storage, container_id)


def _image_plan(word: str, context: Context) -> Plan:
    from newroot.container.settings import Settings
    from newroot.engine import Engine

    with Engine(context.root, run_root=context.run_root) as engine:
        said = engine.images.get(word).config.get("config") or {}
        # An image of a plain tar names no command; what comes before it is the same for all.
        command = () if said.get("Cmd") or said.get("Entrypoint") else ("sh",)
        return engine.plan(Settings(command=command), image=word)


EXPLAIN = Verb(
    name="explain",
    summary=VERBS["explain"][1],
    run=_explain,
    flags=(
        Flag(name="format", metavar="FORMAT", choices=("script", "list", "json"),
             help="A bash script, a line for each step, or JSON"),
    ),
    positionals=(Positional(name="CONTAINER|IMAGE|CONFIG", completes="container"),),
    details=(
        "Prints every step of the start, with its reason, as a script for bash and util-linux, and "
        "starts nothing. CONFIG is a bundle's directory or the config.json in it; an IMAGE is as "
        "newroot run would start it without any flags. newroot run --explain takes the flags."
    ),
    examples=(
        ("what a start of this image does", "newroot explain busybox"),
        ("a bundle's plan, a line for each step", "newroot explain --format list ./bundle"),
    ),
)  # fmt: skip
