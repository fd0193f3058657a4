"""``newroot ns``: every namespace of the host, from several sides."""

from __future__ import annotations

import os
import sys

from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.output import LIST_FORMATS, print_fitted, print_json
from newroot.cli.verbs import VERBS
from newroot.errors import NotFound, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context
    from newroot.observe.process import Process
    from newroot.observe.scan import Census, Namespace

TYPES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")

_SORTS: dict[str, Callable[[Namespace], Any]] = {
    "type": lambda found: found.type,
    "id": lambda found: found.id,
    "processes": lambda found: -len(found.processes),
    "users": lambda found: found.users,
    "command": lambda found: found.command,
    "container": lambda found: found.container.label if found.container else "",
    "owner": lambda found: found.owner or 0,
}


def _ns(parsed: Parsed, context: Context) -> int:
    for word, view in _VIEWS.items():
        if parsed.is_set(word):
            _check_alone(parsed, word)
            return view(parsed, context)
    if len(parsed.positionals) > 1:
        raise UsageError("newroot ns takes one namespace", hint="newroot ns ID")
    if parsed.positionals:
        return _members(parsed, context)
    found = _look(context)
    _print_namespaces(_chosen(found.namespaces, parsed), parsed)
    _say_unread(found)
    return 0


def _check_alone(parsed: Parsed, word: str) -> None:
    others = [other for other in _VIEWS if other != word and parsed.is_set(other)]
    if others:
        raise UsageError(f"--{word} does not go with --{others[0]}")
    if parsed.positionals and word != "watch":
        raise UsageError(f"--{word} does not go with a namespace's ID")


def _look(context: Context) -> Census:
    from newroot.cli.known import first_processes
    from newroot.observe.scan import census

    return census(known=first_processes(context))


def _say_unread(found: Census) -> None:
    """On stderr, so that what is listed is not taken for all."""
    from newroot.cli.failures import say

    sys.stdout.flush()
    if found.unread:
        say(
            f"newroot: the namespaces of {len(found.unread)} of {found.processes} processes are "
            "not yours to see: they belong to others, or may more than you"
        )
    elif found.unread_descriptors:
        say(
            f"newroot: {len(found.unread_descriptors)} processes do not show you their open files, "
            "which may keep namespaces alive"
        )


# ── the list ─────────────────────────────────────────────────────────────────────────────────


def _chosen(all_: tuple[Namespace, ...], parsed: Parsed) -> list[Namespace]:
    types = parsed.texts("type")
    chosen = [found for found in all_ if not types or found.type in types]
    return sorted(chosen, key=_SORTS[parsed.text("sort") or "type"])


def _print_namespaces(found: list[Namespace], parsed: Parsed) -> None:
    if parsed.text("format") == "json":
        print_json([as_json(namespace) for namespace in found], indent=2)
        return
    headings = ("NAMESPACE", "TYPE", "PROCS", "USERS", "CONTAINER", "OWNER", "PARENT", "COMMAND")
    print_fitted(headings, [_row(namespace) for namespace in found])


def as_json(found: Namespace) -> dict[str, Any]:
    """One namespace as ``--format json`` has it."""
    return {
        "id": found.id,
        "type": found.type,
        "processes": len(found.processes),
        "pid": found.pid,
        "users": list(found.users),
        "command": found.command,
        "container": (found.container.name or found.container.id) if found.container else None,
        "containerId": found.container.id if found.container else None,
        "engine": found.container.engine if found.container else None,
        "owner": found.owner,
        "ownerUid": found.owner_uid,
        "parent": found.parent,
        "keptBy": [
            {name: value for name, value in _pairs(keeper) if value not in (None, "")}
            for keeper in found.kept_by
        ],
    }


def _pairs(keeper: object) -> list[tuple[str, Any]]:
    return [(name, getattr(keeper, name)) for name in ("kind", "pid", "path", "child")]


def _row(found: Namespace) -> tuple[str, ...]:
    container = f"{found.container.engine}:{found.container.label}" if found.container else ""
    return (
        str(found.id),
        found.type,
        str(len(found.processes)),
        ",".join(map(user_name, found.users)),
        container,
        str(found.owner or ""),
        str(found.parent or ""),
        found.command if found.processes else kept_words(found),
    )


def kept_words(found: Namespace) -> str:
    """Why a namespace without processes is there."""
    words = {
        "descriptor": lambda k: f"open as {k.path}",
        "mount": lambda k: f"bound at {k.path}",
        "child": lambda k: f"of the namespace {k.child}",
    }
    said = list(dict.fromkeys(words[keeper.kind](keeper) for keeper in found.kept_by))
    more = f" and {len(said) - 1} more" if len(said) > 1 else ""
    return f"({said[0]}{more})" if said else ""


def user_name(uid: int) -> str:
    """The host's name for *uid*, or its number."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


# ── one namespace, one process ───────────────────────────────────────────────────────────────


def _members(parsed: Parsed, context: Context) -> int:
    from newroot.observe.process import read_process

    word = parsed.positionals[0]
    number = word.partition(":[")[2].removesuffix("]") or word  # as readlink prints it
    found = _look(context)
    namespace = found.find(int(number)) if number.isascii() and number.isdigit() else None
    if namespace is None:
        raise NotFound(f"no namespace {word}", hint="newroot ns lists those that you may see")
    members = [m for pid in namespace.processes if (m := read_process(pid)) is not None]
    if parsed.text("format") == "json":
        print_json([_member_json(member) for member in members], indent=2)
        return 0
    headings = ("PID", "PPID", "NAME", "STATE", "THREADS", "USER", "CGROUPS", "COMMAND")
    print_fitted(headings, [_member_row(member) for member in members])
    _say_unread(found)
    return 0


def _member_json(member: Process) -> dict[str, Any]:
    return {
        "pid": member.pid,
        "ppid": member.ppid,
        "name": member.name,
        "command": member.command,
        "threads": member.threads,
        "cgroups": list(member.cgroups),
        "state": member.state,
        "user": member.uid,
        "inside": list(member.inside),
    }


def _member_row(member: Process) -> tuple[str, ...]:
    return (
        str(member.pid),
        str(member.ppid),
        member.name,
        member.state,
        str(member.threads),
        user_name(member.uid),
        cgroup_words(member.cgroups),
        member.command,
    )


def cgroup_words(lines: tuple[str, ...]) -> str:
    """The cgroups that are not the top: ``memory,pids:/a /b``."""
    by_path: dict[str, list[str]] = {}
    for line in lines:
        _, names, path = line.split(":", 2)
        if path != "/":
            by_path.setdefault(path, []).append(names)
    words = (f"{','.join(filter(None, names))}:{path}" for path, names in by_path.items())
    return " ".join(word.removeprefix(":") for word in words) or "/"


def _of_process(parsed: Parsed, context: Context) -> int:
    from newroot.cli.known import find_process

    word = parsed.text("pid") or ""
    pid = find_process(context, word)
    found = _look(context)
    own = found.of_process(os.getpid() if pid == "self" else int(pid))
    if not own:
        raise NotFound(f"the namespaces of process {pid} are not to be seen", hint="as root?")
    _print_namespaces(_chosen(own, parsed), parsed)
    return 0


# ── cgroups ──────────────────────────────────────────────────────────────────────────────────


def _cgroup(parsed: Parsed, context: Context) -> int:
    from newroot.cli.known import find_process
    from newroot.observe.cgroup import find_cgroup

    word, _, hierarchy = (parsed.text("cgroup") or "").partition(":")
    pid = find_process(context, word)
    view = find_cgroup(os.getpid() if pid == "self" else int(pid), hierarchy)
    values = {name: view.value(name) for name in view.files()}
    if parsed.text("format") == "json":
        about = {
            "hierarchy": view.hierarchy,
            "version": view.version,
            "controllers": list(view.controllers),
            "path": view.path,
            "directory": view.directory,
        }
        print_json({**about, "files": values}, indent=2)
        return 0
    print(f"cgroup v{view.version} {','.join(view.controllers)} {view.path} at {view.directory}")
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        first, *rest = (value if value is not None else "(not to be read)").split("\n")
        rows += [(name, first), *(("", line) for line in rest)]
    print_fitted(("FILE", "VALUE"), rows)
    return 0


def _watch(parsed: Parsed, context: Context) -> int:
    from newroot.cli.watch import watch_cgroup

    return watch_cgroup(parsed, context)


def _tree(parsed: Parsed, context: Context) -> int:
    from newroot.cli.ns_tree import print_trees

    found = _look(context)
    print_trees(found.namespaces, as_json=parsed.text("format") == "json")
    _say_unread(found)
    return 0


_VIEWS: dict[str, Callable[[Parsed, Context], int]] = {
    "pid": _of_process,
    "cgroup": _cgroup,
    "watch": _watch,
    "tree": _tree,
}

NS = Verb(
    name="ns",
    summary=VERBS["ns"][1],
    run=_ns,
    flags=(
        Flag(name="type", short="t", metavar="TYPE", repeat=True, choices=TYPES,
             help="Only namespaces of this type"),
        Flag(name="sort", metavar="BY", choices=tuple(_SORTS), help="The order"),
        Flag(name="format", metavar="FORMAT", choices=LIST_FORMATS, help="How to print the list"),
        Flag(name="tree", help="Show who owns what, and how process ids nest, as trees"),
        Flag(name="pid", short="p", metavar="PID|CONTAINER", completes="container",
             help="Show the namespaces of one process"),
        Flag(name="cgroup", metavar="PID[:TREE]",
             help="Show the control files of a process's cgroup; TREE is a hierarchy's number, a "
                  "controller or a name"),
        Flag(name="watch", metavar="PID|CONTAINER", completes="container",
             help="Follow a process and the control FILEs of its cgroups, live"),
        Flag(name="interval", metavar="SECONDS", help="How often --watch looks (default 1)"),
        Flag(name="count", metavar="NUMBER", help="End --watch after so many looks"),
    ),
    positionals=(Positional(name="ID|FILE", optional=True, repeat=True),),
    usage="newroot ns [OPTIONS] [ID] | --watch PID [FILE...]",
    details=(
        "Every namespace that the kernel shows you: with how many processes in it, whose they are, "
        "the command of the first, the container that it belongs to, the user namespace that owns "
        "it and what it is nested in; also those that only an open descriptor or a mount keeps. "
        "With an ID: the processes in it.\n\n"
        "Containers are newroot's own and those of Docker, podman, containerd, runc and others "
        "that leave a cgroup's name or a runtime's state to know them by."
    ),
    examples=(
        ("the network namespaces, the fullest first", "newroot ns -t net --sort processes"),
        ("who is in one", "newroot ns 4026531837"),
        ("a container's memory, live", "newroot ns --watch web memory.current"),
    ),
)  # fmt: skip
