"""``newroot fork``, ``snapshot``, ``rollback``, ``snapshots [rm]``: roots that branch."""

from __future__ import annotations

import sys

from newroot.cli.end import engine_of
from newroot.cli.failures import each
from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.output import human_age, human_size, print_json
from newroot.cli.verbs import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context
    from newroot.container.branch import Copied
    from newroot.container.branch_tree import Branch


def _fork(parsed: Parsed, context: Context) -> int:
    container, *name = parsed.positionals
    with engine_of(context) as engine:
        made = engine.fork(
            container, name[0] if name else None, start=parsed.is_set("start"), on_copied=_say
        )
    print(made)
    return 0


def _snapshot(parsed: Parsed, context: Context) -> int:
    container, *tag = parsed.positionals
    with engine_of(context) as engine:
        print(engine.snapshot(container, tag[0] if tag else None, on_copied=_say).tag)
    return 0


def _say(copied: Copied) -> None:
    """What a container that ran has cost."""
    print(
        f"note: container {copied.container[:12]} runs, so its changes were copied "
        f"({human_size(copied.size_bytes)}) while it was frozen for "
        f"{copied.frozen_s * 1000:.0f} ms; one that does not run needs neither",
        file=sys.stderr,
    )


def _rollback(parsed: Parsed, context: Context) -> int:
    container, tag = parsed.positionals
    with engine_of(context) as engine:
        engine.rollback(container, tag)
    print(container)
    return 0


def _remove(parsed: Parsed, context: Context) -> int:
    container, *tags = parsed.positionals
    with engine_of(context) as engine:

        def remove(tag: str) -> None:
            engine.remove_snapshot(container, tag)
            print(tag)

        return each(tags, remove, debug=context.debug)


# ── the tree ─────────────────────────────────────────────────────────────────────────────────


def _list(parsed: Parsed, context: Context) -> int:
    from time import time

    with engine_of(context) as engine:
        roots = engine.snapshots(parsed.positionals[0] if parsed.positionals else None)
    if parsed.text("format") == "json":
        print_json([_node(root) for root in roots])
        return 0
    now = time()
    for root in roots:
        _draw(root, "", "", now, whole=parsed.is_set("no_trunc"))
    return 0


def _draw(node: Branch, before: str, below: str, now: float, *, whole: bool) -> None:
    print(before + _printable(_line(node, now, whole=whole)))
    for child in node.children:
        is_last = child is node.children[-1]
        _draw(
            child,
            below + ("└─ " if is_last else "├─ "),
            below + ("   " if is_last else "│  "),
            now,
            whole=whole,
        )


def _line(node: Branch, now: float, *, whole: bool) -> str:
    if node.kind == "image":
        return node.name or "<none>"
    short = node.id if whole else node.id[:12]
    age = f"{human_age(max(now - (node.created or now), 0))} ago"
    if node.kind == "container":
        called = "" if node.name == node.id[:12] else f"  {node.name}"
        return f"[{short}]{called}  {node.status}"
    tags = ", ".join(f"{container}:{tag}" for container, tag in node.tags)
    made_one = f", {node.merged} in one" if node.merged else ""
    return f"{short}  {tags or 'of ' + node.name}  {age}{made_one}"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _node(node: Branch) -> dict[str, Any]:
    return {
        "Kind": node.kind,
        "ID": node.id,
        "Name": node.name,
        "Tags": [{"Container": container, "Tag": tag} for container, tag in node.tags],
        "Created": node.created,
        "Status": node.status,
        "Merged": node.merged,
        "Children": [_node(child) for child in node.children],
    }


_CONTAINER = Positional(name="CONTAINER", completes="container")

FORK = Verb(
    name="fork",
    summary=VERBS["fork"][1],
    run=_fork,
    flags=(Flag(name="start", help="Start it too"),),
    positionals=(_CONTAINER, Positional(name="NAME", optional=True)),
    details=(
        "The new container has the other's root as it is now, and its settings. What the other has "
        "written becomes a snapshot that both stand on, which takes no longer for a gigabyte than "
        "for a byte. One that runs is frozen while its changes are copied. Named volumes are "
        "shared, anonymous ones the new container gets of its own. Prints its id."
    ),
    examples=(
        ("try something on a copy of it", "newroot fork db db-try --start"),
        ("a hundred of one", "for i in $(seq 100); do newroot fork base worker$i --start; done"),
    ),
)

SNAPSHOT = Verb(
    name="snapshot",
    summary=VERBS["snapshot"][1],
    run=_snapshot,
    positionals=(_CONTAINER, Positional(name="TAG", optional=True)),
    details=(
        "Without a TAG it is the next number. Prints the tag. As quick as newroot fork; one that "
        "runs is frozen while its changes are copied. What is in volumes is not kept."
    ),
    examples=(("before something risky", "newroot snapshot web before-upgrade"),),
)

ROLLBACK = Verb(
    name="rollback",
    summary=VERBS["rollback"][1],
    run=_rollback,
    positionals=(_CONTAINER, Positional(name="TAG")),
    details=(
        "The container must not run. What it has written since its last snapshot is gone; all its "
        "snapshots stay, so that it can also go forward again."
    ),
    examples=(("after something risky", "newroot stop web; newroot rollback web before-upgrade"),),
)

SNAPSHOTS = Verb(
    name="snapshots",
    summary=VERBS["snapshots"][1],
    run=_list,
    flags=(
        Flag(name="format", metavar="FORMAT", choices=("tree", "json"), help="How to print it"),
        Flag(name="no-trunc", help="Print IDs in full"),
    ),
    positionals=(Positional(name="CONTAINER", optional=True, completes="container"),),
    details=(
        "Images, on them what was sealed, with CONTAINER:TAG where it has one, and in brackets the "
        "containers that stand there. With a CONTAINER only what grew together with it."
    ),
)

REMOVE = Verb(
    name="snapshots rm",
    summary=VERBS["snapshots rm"][1],
    run=_remove,
    positionals=(_CONTAINER, Positional(name="TAG", repeat=True)),
    details="What was kept goes too, unless a container stands on it.",
)
