"""``newroot ns --tree``: which user namespace owns what, and how process ids nest."""

from __future__ import annotations

from newroot.cli.ns import as_json as namespace_json
from newroot.cli.ns import kept_words, user_name
from newroot.cli.output import cut, print_json, printable, terminal_width

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from newroot.observe.scan import Namespace

    Children = dict[int | None, list[Namespace]]


def print_trees(found: tuple[Namespace, ...], *, as_json: bool) -> None:
    """Print both trees."""
    trees = {
        "User namespaces and what they own": (ownership(found), "ownership"),
        "Process id namespaces, nested": (nesting(found), "nesting"),
    }
    if as_json:
        print_json({key: _nested(None, tree) for tree, key in trees.values()}, indent=2)
        return
    for number, (title, (tree, _)) in enumerate(trees.items()):
        print(f"{'' if not number else chr(10)}{title}")
        for line in _lines(None, tree, ""):
            print(cut(line, terminal_width()))


def ownership(found: tuple[Namespace, ...]) -> Children:
    """By user namespace: those nested in it, and what it owns."""
    seen = {namespace.id for namespace in found if namespace.type == "user"}
    tree: Children = {}
    for namespace in found:
        above = namespace.parent if namespace.type == "user" else namespace.owner
        tree.setdefault(above if above in seen else None, []).append(namespace)
    for children in tree.values():
        children.sort(key=lambda child: (child.type == "user", child.type, child.id))
    return tree


def nesting(found: tuple[Namespace, ...]) -> Children:
    """By pid namespace: those nested in it."""
    pids = [namespace for namespace in found if namespace.type == "pid"]
    seen = {namespace.id for namespace in pids}
    tree: Children = {}
    for namespace in pids:
        above = namespace.parent
        tree.setdefault(above if above in seen else None, []).append(namespace)
    return tree


def _lines(above: int | None, tree: Children, indent: str) -> Iterator[str]:
    children = tree.get(above, [])
    for number, child in enumerate(children):
        last = number == len(children) - 1
        yield f"{indent}{'└─' if last else '├─'}{_words(child)}"
        if child.id in tree:
            yield from _lines(child.id, tree, indent + ("  " if last else "│ "))


def _words(found: Namespace) -> str:
    count = len(found.processes)
    who = f"{found.container.engine}:{found.container.label}" if found.container else ""
    parts = [
        f"{found.type} {found.id}",
        f"{count} process{'' if count == 1 else 'es'}",
        ",".join(map(user_name, found.users)),
        who,
        printable(found.command) if count else kept_words(found),
    ]
    return "  ".join(filter(None, parts))


def _nested(above: int | None, tree: Children) -> list[dict[str, Any]]:
    return [
        {**namespace_json(child), "children": _nested(child.id, tree) if child.id in tree else []}
        for child in tree.get(above, [])
    ]
