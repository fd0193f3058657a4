"""``newroot image inspect``, ``history`` and ``image tree``: what an image is made of."""

from __future__ import annotations

from newroot.cli.failures import each
from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.images import split_name
from newroot.cli.output import (
    FORMAT,
    age_of,
    human_size,
    print_facts,
    print_json,
    print_rows,
)
from newroot.cli.verbs import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context
    from newroot.images.family import Node
    from newroot.images.store import Image, ImageStore

_COMMAND_LENGTH = 45
_MISSING = "<missing>"

# ── inspect ──────────────────────────────────────────────────────────────────────────────────


def _inspect(parsed: Parsed, context: Context) -> int:
    from newroot.images.store import ImageStore

    store = ImageStore(context.root)
    found: list[dict[str, Any]] = []
    code = each(
        parsed.positionals,
        lambda name: found.append(image_document(store, store.get(name))),
        debug=context.debug,
    )
    print_facts(found, parsed.text("format"))
    return code


def image_document(store: ImageStore, image: Image) -> dict[str, Any]:
    """Docker's words where it has some; LayerPaths are newroot's."""
    from newroot.images.reference import familiar
    from newroot.oci.image import read_diff_ids

    config = image.config
    same = [other.reference for other in store.list() if other.digest == image.digest]
    names = [familiar(name) for name in same if name]
    return {
        "Id": image.digest,
        "RepoTags": names,
        "RepoDigests": sorted({f"{split_name(n)[0]}@{image.digest}" for n in same if n}),
        "Comment": _comment(config),
        "Created": image.created or "",
        "Author": config.get("author") or "",
        "Config": config.get("config") or {},
        "Architecture": config.get("architecture") or "",
        "Variant": config.get("variant") or "",
        "Os": config.get("os") or "",
        "Size": image.size,
        "RootFS": {"Type": "layers", "Layers": list(read_diff_ids(config))},
        "ConfigDigest": store.manifest(image.digest).config.digest,
        "LayerPaths": list(image.layers),
    }


def _comment(config: dict[str, Any]) -> str:
    history = config.get("history")
    last = history[-1] if isinstance(history, list) and history else None
    return str(last.get("comment") or "") if isinstance(last, dict) else ""


# ── history ──────────────────────────────────────────────────────────────────────────────────

_COLUMNS = {
    "IMAGE": "ID",
    "CREATED": "CreatedSince",
    "CREATED BY": "CreatedBy",
    "SIZE": "Size",
    "COMMENT": "Comment",
}


def _history(parsed: Parsed, context: Context) -> int:
    from newroot.engine import Engine

    engine = Engine(context.root, run_root=context.run_root)
    image = engine.images.get(parsed.positionals[0])
    whole, human = parsed.is_set("no_trunc"), parsed.text("human") != "false"
    rows = []
    for number, step in enumerate(engine.history(parsed.positionals[0])):
        by = step.created_by
        if not whole and len(by) > _COMMAND_LENGTH:
            by = by[: _COMMAND_LENGTH - 1] + "…"
        short = image.digest if whole else image.digest[7:19]
        rows.append(
            {
                "Comment": step.comment,
                "CreatedAt": step.created or "",
                "CreatedBy": "".join(c if c.isprintable() else ascii(c)[1:-1] for c in by),
                "CreatedSince": age_of(step.created or "") if human else step.created or "",
                "ID": short if number == 0 else _MISSING,
                "Layer": step.diff_id or "",
                "Size": human_size(step.size) if human else str(step.size),
            }
        )
    if parsed.is_set("quiet"):
        print("".join(f"{row['ID']}\n" for row in rows), end="")
    else:
        print_rows(_COLUMNS, rows, parsed.text("format"))
    return 0


# ── tree ─────────────────────────────────────────────────────────────────────────────────────


def _tree(parsed: Parsed, context: Context) -> int:
    from newroot.images.family import family
    from newroot.images.store import ImageStore

    roots = family(ImageStore(context.root))
    if parsed.text("format") == "json":
        print_json([_node(root) for root in roots])
        return 0
    whole = parsed.is_set("no_trunc")
    for root in roots:
        _draw(root, "", "", whole=whole)
    nodes = [node for root in roots for node in root.walk()]
    once = sum({node.diff_id: node.size for node in nodes}.values())
    apart = sum(node.size * node.users() for node in nodes)
    images = sum(len(node.images) for node in nodes)
    if nodes:
        print(
            f"{images} images, {len({n.diff_id for n in nodes})} layers: {human_size(once)}, "
            f"{human_size(apart)} if nothing were shared"
        )
    return 0


def _draw(node: Node, before: str, below: str, *, whole: bool) -> None:
    digits = node.diff_id if whole else node.diff_id[7:19]
    names = ", ".join(_called(image) for image in node.images)
    print(f"{before}{digits}  {human_size(node.size)}{names and f'  {names}'}")
    children = list(node.children.values())
    for child in children:
        is_last = child is children[-1]
        _draw(
            child,
            below + ("└─ " if is_last else "├─ "),
            below + ("   " if is_last else "│  "),
            whole=whole,
        )


def _called(image: Image) -> str:
    from newroot.images.reference import familiar

    return familiar(image.reference) if image.reference else f"<none> ({image.digest[7:19]})"


def _node(node: Node) -> dict[str, Any]:
    return {
        "Layer": node.diff_id,
        "Size": node.size,
        "Images": [
            {"Name": image.reference, "Digest": image.digest, "Size": image.size}
            for image in node.images
        ],
        "Children": [_node(child) for child in node.children.values()],
    }


_NO_TRUNC = Flag(name="no-trunc", help="Print it all in full")

INSPECT = Verb(
    name="image inspect",
    summary=VERBS["image inspect"][1],
    run=_inspect,
    flags=(
        Flag(
            name="format",
            short="f",
            metavar="FORMAT",
            help="Print json on one line, or a line for each image, as '{Id} {Config.Cmd}'",
        ),
    ),
    positionals=(Positional(name="IMAGE", repeat=True, completes="image"),),
)

HISTORY = Verb(
    name="history",
    summary=VERBS["history"][1],
    run=_history,
    flags=(
        FORMAT,
        Flag(
            name="human",
            short="H",
            metavar="true|false",
            choices=("true", "false"),
            help="Print sizes and times for people (true)",
        ),
        _NO_TRUNC,
        Flag(name="quiet", short="q", help="Print the IDs alone"),
    ),
    positionals=(Positional(name="IMAGE", completes="image"),),
    details="The newest step first. A size is that of the step's layer as it is stored.",
)

TREE = Verb(
    name="image tree",
    summary=VERBS["image tree"][1],
    run=_tree,
    flags=(
        Flag(name="format", metavar="FORMAT", choices=("tree", "json"), help="How to print it"),
        _NO_TRUNC,
    ),
    details="A layer stands once, below it what stands on it, with the images that end there.",
)
