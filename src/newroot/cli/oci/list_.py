"""``newroot-oci list``: the containers below a root, in runc's table or as JSON."""

from __future__ import annotations

import os

from newroot.cli.flags import Flag, Verb
from newroot.cli.oci.verbs import VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.oci.verbs import OciContext
    from newroot.container.oci_state import OciContainer

_LEAST = 12  #: runc's tabwriter: cells of at least twelve columns, three of them empty
_GAP = 3


def _list(parsed: Parsed, context: OciContext) -> int:
    from newroot.container.oci_state import load_all
    from newroot.errors import UsageError

    form = parsed.text("format") or "table"
    if form not in ("table", "json"):
        raise UsageError("invalid format option", hint="there are table and json")
    found = load_all(context.root)
    if parsed.is_set("quiet"):
        for container in found:
            print(container.id)
        return 0
    rows = [_row(container) for container in found]
    if form == "json":
        from newroot.oci.json import dumps

        print(dumps(rows) if rows else "null")
        return 0
    keys = ("id", "pid", "status", "bundle", "created", "owner")
    head = tuple(key.upper() for key in keys)
    _print_table([head, *(tuple(str(row[key]) for key in keys) for row in rows)])
    return 0


def _row(container: OciContainer) -> dict[str, object]:
    from newroot.container.oci_state import state_document

    return {**state_document(container), "owner": _owner(container.directory)}


def _owner(directory: str) -> str:
    import pwd

    try:
        uid = os.stat(directory).st_uid
        return pwd.getpwuid(uid).pw_name
    except FileNotFoundError:
        return ""
    except KeyError:
        return str(uid)


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [
        max(_LEAST, *(len(cell) + _GAP for cell in column)) for column in zip(*rows, strict=True)
    ]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths[:-1], strict=True)]
        print("".join(cells) + row[-1])


LIST = Verb(
    name="list",
    summary=VERBS["list"][1],
    run=_list,
    flags=(
        Flag(name="format", short="f", metavar="FORMAT", help="table or json"),
        Flag(name="quiet", short="q", help="Ids only"),
    ),
)
