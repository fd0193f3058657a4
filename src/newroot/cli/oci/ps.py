"""``newroot-oci ps``: a container's processes, as a list of ids or as ps shows them."""

from __future__ import annotations

import os

from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.oci.verbs import VERBS
from newroot.errors import NewrootError, StateError, UnsupportedError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.oci.verbs import OciContext


def _ps(parsed: Parsed, context: OciContext) -> int:
    from newroot.container.oci_state import load
    from newroot.oci.json import dumps

    container = load(context.root, parsed.positionals[0])
    if not container.cgroups:
        raise StateError(
            f"list the processes of {container.id}: it has no cgroup to find them by",
            hint="create it without --cgroup-manager disabled",
        )
    # An id that our pid namespace has not is none that a caller could use.
    pids = container.cgroup().processes()
    form = parsed.text("format") or "table"
    if form == "json":
        print(dumps(list(pids)))
        return 0
    if form != "table":
        raise UsageError("invalid format option", hint="there are table and json")
    for line in lines_of(_run(parsed.positionals[1:] or ("-ef",)), set(pids)):
        print(line)
    return 0


def lines_of(output: str, pids: set[int]) -> list[str]:
    """The heading of ps's *output*, and its lines for *pids*."""
    title, _, rest = output.partition("\n")
    titles = title.split()
    if "PID" not in titles:
        raise UsageError("couldn't find PID field in ps output", hint="have ps print it: -o pid,…")
    column = titles.index("PID")
    found = [title]
    for line in rest.splitlines():
        words = line.split()
        if len(words) > column and words[column].isdecimal() and int(words[column]) in pids:
            found.append(line)
    return found


def _run(arguments: tuple[str, ...]) -> str:
    """The output of ps: what it takes and what it prints is its own affair, as with runc."""
    import subprocess

    try:
        done = subprocess.run(["ps", *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise UnsupportedError(
            "list processes as a table: there is no ps on this host",
            feature="ps",
            hint="install procps, or use --format json",
        ) from None
    if done.returncode:
        words = os.fsdecode(done.stderr or done.stdout).strip()
        raise NewrootError(f"ps {' '.join(arguments)}: exit status {done.returncode}: {words}")
    return os.fsdecode(done.stdout)


PS = Verb(
    name="ps",
    summary=VERBS["ps"][1],
    run=_ps,
    flags=(Flag(name="format", short="f", metavar="FORMAT", help="table or json"),),
    positionals=(Positional(name="ID"), Positional(name="PS-OPTION", optional=True, repeat=True)),
    stops_at_positional=True,
)
