"""The map of the rooms (docs/design.md), drawn from the source: imports go one way.

A new arrow fails here and is named.  When it is right, it belongs into ``DOORS``, into the drawing
in docs/design.md, and its reason into docs/decisions/.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import newroot

PACKAGE = Path(newroot.__file__).parent

#: Who may import whom.  A room may also import what is behind a door that is open to it.
DOORS: dict[str, set[str]] = {
    "errors": set(),
    "record": set(),
    "filters": {"errors"},  # how their words are read
    "version": set(),
    "linux": {"errors", "record"},
    "native": set(),
    "plan": {"linux", "native"},
    "isolation": {"plan"},
    "rootfs": {"plan", "filters"},
    "oci": {"linux"},
    "network": {"plan", "oci", "linux"},
    "images": {"linux", "oci", "version", "filters"},
    "container": {"rootfs", "isolation", "network", "plan", "oci", "linux"},
    "observe": {"linux"},
    "engine": {
        "images",
        "container",
        "engine_async",
        "engine_boot",
        "engine_branches",
        "engine_containers",
        "engine_copy",
        "engine_health",
        "engine_images",
        "engine_look",
        "engine_manage",
        "engine_volumes",
        "engine_networks",
    },
    "engine_networks": {"container", "network"},  # networks, and who is on them
    "engine_async": {"container"},  # the engine's other half: asyncio in poll's place
    "engine_boot": {"container"},  # after a boot
    "engine_branches": {"container"},  # forks and snapshots
    "engine_containers": {"container"},  # detached ones, over their whole life
    "engine_copy": {"container", "engine_between"},  # files go into them and come out
    "engine_between": {"images", "container"},  # by a tar, from one root to another
    "engine_files": {"images", "container"},  # a container's files, as images and archives
    "engine_health": {"container"},  # whether they are well
    "engine_images": {"images", "container", "engine_files"},  # its verbs for both
    "engine_look": {"images", "container"},  # what it can tell of them
    "engine_manage": {"images", "container", "engine_disk"},  # changing and tidying up
    "engine_disk": {"images", "container"},  # what all of it takes
    "engine_volumes": {"images", "container", "engine_files"},  # what is in volumes, as tars
    "engine_try": {"engine", "container"},  # an engine whose layer is the host
    "doctor": {"engine"},
    "cli": {"engine", "engine_try", "doctor", "oci", "observe", "version"},
    "testing": {"images", "container", "observe"},
    "": {"engine", "version"},  # the package root: the door for those outside
}

#: Every container's start walks through these: nothing heavy may be imported at the top of a file.
HOT_ROOMS = (
    "errors",
    "record",
    "version",
    "linux",
    "plan",
    "isolation",
    "container",
    "oci",
    "rootfs",
    "network",
)
#: A process of its own: nobody waits for its start.
APART = ("network/responder.py",)
HOT_FILES = ("cli/main.py", "cli/run.py", "cli/start.py")
HEAVY = frozenset(
    {
        "argparse", "asyncio", "collections", "contextlib", "ctypes", "dataclasses", "enum",
        "functools", "inspect", "json", "logging", "pathlib", "re", "shutil", "signal", "socket",
        "subprocess", "tempfile", "types", "typing",
    }
)  # fmt: skip


def _files() -> Iterator[Path]:
    yield from sorted(PACKAGE.rglob("*.py"))


def _room(name: str) -> str:
    """The room of a module: ``newroot.linux.paths`` -> ``linux``; the package root is ``""``."""
    return (name.split(".") + [""])[1]


def _module(file: Path) -> str:
    parts = ("newroot", *file.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module is not None:
        # `from newroot import errors` goes through the root, whatever it is after.
        yield node.module


@cache
def _parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(), str(file))


def _arrows() -> Iterator[tuple[str, str, str]]:
    """Every import of ours: where it stands, from which room, to which room."""
    for file in _files():
        source = _module(file)
        for node in ast.walk(_parse(file)):
            for target in _imported(node):
                if target.split(".")[0] == "newroot":
                    place = f"{file.relative_to(PACKAGE)}:{node.lineno} imports {target}"
                    yield place, _room(source), _room(target)


def _reachable(room: str) -> set[str]:
    seen: set[str] = set()
    todo = {room, "errors", "record"}
    while todo:
        here = todo.pop()
        seen.add(here)
        todo |= DOORS[here] - seen
    return seen


def _top_level_imports(body: list[ast.stmt]) -> Iterator[tuple[int, str]]:
    """What is imported when the module is: not in functions, not under TYPE_CHECKING."""
    for node in body:
        for target in _imported(node):
            yield node.lineno, target
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            yield from _top_level_imports(node.orelse)
        elif isinstance(node, ast.If | ast.Try | ast.With | ast.ClassDef):
            for part in ("body", "orelse", "finalbody", "handlers"):
                for inner in getattr(node, part, []):
                    inner_body = inner.body if isinstance(inner, ast.ExceptHandler) else [inner]
                    yield from _top_level_imports(inner_body)


def _hot_files() -> list[Path]:
    return [
        file
        for file in _files()
        if (_room(_module(file)) in HOT_ROOMS and str(file.relative_to(PACKAGE)) not in APART)
        or str(file.relative_to(PACKAGE)) in HOT_FILES
        or file.parent.name == "oci"
    ]


def test_every_room_is_on_the_map() -> None:
    rooms = {_room(_module(file)) for file in _files()}

    assert rooms - set(DOORS) == set()


def test_doors_open_one_way() -> None:
    wrong = [
        f"{place}: no door from {source or 'the package root'} to {target}"
        for place, source, target in _arrows()
        if target and target not in _reachable(source)
    ]

    assert wrong == []


def test_no_module_imports_the_package_root() -> None:
    wrong = [place for place, source, target in _arrows() if target == "" and source != ""]

    assert wrong == []


def test_the_map_has_no_circle() -> None:
    circles = [room for room in DOORS for door in DOORS[room] if room in _reachable(door)]

    assert circles == []


def test_hot_files_import_nothing_heavy_at_the_top() -> None:
    wrong = [
        f"{file.relative_to(PACKAGE)}:{line} imports {target}"
        for file in _hot_files()
        for line, target in _top_level_imports(_parse(file).body)
        if target.split(".")[0] in HEAVY
    ]

    assert wrong == []


def test_importing_every_hot_module_loads_nothing_heavy() -> None:
    # A forbidden module may also come through a standard module that looks innocent.
    modules = [_module(file) for file in _hot_files() if file.name != "start.py"]
    program = (
        f"import sys; sys.path.append({str(PACKAGE.parent)!r})\n"
        + "".join(f"import {name}\n" for name in modules)
        + f"print(*sorted({set(HEAVY)!r} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True
    )

    assert done.stderr == ""
    assert done.stdout.split() == []
