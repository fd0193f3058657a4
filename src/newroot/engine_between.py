"""The engine's half of ``cp``: what is below one root goes below another.

Both ends are a root, by descriptor, and a path below it; the host is one more, whose root is
``/``.  Between them goes a tar, as bytes: tree_out.py makes it, tree_in.py lays it down.  Nothing
of the container runs, and nothing of it decides where anything goes.
"""

from __future__ import annotations

import os
import stat

from newroot.container.reach import Reached, explained
from newroot.errors import NewrootError, NotFound, UsageError
from newroot.linux.idmap import IDENTITY, to_container, to_host
from newroot.linux.paths import Entry, Walk, look_up
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO, TypeVar

    from newroot.images.tree_in import Laid
    from newroot.linux.idmap import IdMap

    Outcome = TypeVar("Outcome")

_NOBODY = 65534  #: what the kernel says where an id has none: user_namespaces(7)


@record
class Found:
    """Where a path led."""

    path: str  #: as it was given
    names: tuple[str, ...]  #: the same without links and dots, below the root
    kind: int | None  #: ``stat.S_IFMT``; None: it is not there, and its directory is
    parent: int = -1  #: O_PATH descriptors of the directory and of what was found, while it is
    fd: int = -1  #: held

    @property
    def is_dir(self) -> bool:
        return self.kind == stat.S_IFDIR

    @property
    def means_content(self) -> bool:
        return os.path.basename(self.path) == "."

    @property
    def wants_dir(self) -> bool:
        return self.path.endswith("/") or self.means_content

    @property
    def called(self) -> str:
        """What it is called where it goes: a link that was followed keeps its name."""
        if self.means_content:
            return "."
        name = os.path.basename(self.path.rstrip("/"))
        return name if name not in ("", "..") else (self.names[-1:] or (".",))[0]


def place(source: Found, target: Found) -> tuple[tuple[str, ...], str]:
    """Into which directory *source* goes, and what it is called there: docker cp's table.

    The name is ``.`` where what is in it goes, not itself.  Raises UsageError where it cannot go.
    """
    if target.is_dir:
        return target.names, source.called
    if target.kind is not None and source.is_dir:
        raise UsageError(
            f"copy {source.path} to {target.path}: a directory cannot go where a file is"
        )
    if target.wants_dir and not source.is_dir:
        raise UsageError(
            f"copy to {target.path}: there is no such directory", hint="make it first: mkdir -p"
        )
    return target.names[:-1], target.names[-1]


def with_host(use: Callable[[Reached], Outcome]) -> Outcome:
    """Let *use* have the host's root, whose relative paths begin where this process is."""
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return use(Reached(root=root, is_host=True))
    finally:
        os.close(root)


# ── from one root to another ─────────────────────────────────────────────────────────────────


def copy(
    at: Reached, path: str, to: Reached, target_path: str, *, archive: bool, follow: bool
) -> Laid:
    from newroot.images.tree_in import Layer

    with _walk(at) as source_walk, _walk(to) as target_walk:
        source = _find_source(source_walk, at, path, follow)
        target = _find_target(target_walk, to, target_path)
        directory, name = place(source, target)
        archived = _members(source, name, at)
        layer = Layer(
            to.root,
            os.fsencode("/".join(("", *directory))),
            what=path,
            owner=None if archive else _root_of(to),
            ids=_ids(to, to_host),
            strict=True,
        )
        try:
            return _making(to, lambda: layer.take(lambda: next(archived, b"")))
        except OSError as error:
            if isinstance(error, NewrootError):
                raise
            raise explained(error, f"copy {path} to", target_path) from error


def lay_stream(source: BinaryIO, to: Reached, path: str, archive: bool) -> Laid:
    from newroot.images.stream import plain_chunks
    from newroot.images.tree_in import Layer

    what = str(getattr(source, "name", "the archive"))
    with _walk(to) as walk:
        target = _find_target(walk, to, path)
        if not target.is_dir:
            raise UsageError(
                f"copy an archive to {path}: it is no directory", hint="a tar goes into one"
            )
        layer = Layer(
            to.root,
            os.fsencode("/".join(("", *target.names))),
            what=what,
            owner=None if archive else _root_of(to),
            ids=_ids(to, to_host),
        )
        try:
            return _making(to, lambda: layer.take(plain_chunks(source, what)))
        except OSError as error:
            if isinstance(error, NewrootError):
                raise
            raise explained(error, "unpack an archive in", path) from error


def send(at: Reached, path: str, target: BinaryIO, follow: bool) -> None:
    target.flush()
    fd = target.fileno()
    with _walk(at) as walk:
        source = _find_source(walk, at, path, follow)
        for chunk in _members(source, source.called, at):
            view = memoryview(chunk)
            while view:
                view = view[os.write(fd, view) :]


def _members(source: Found, name: str, at: Reached) -> Iterator[bytes]:
    """The archive of *source*, called *name*, in chunks of which none is empty."""
    from newroot.images.pack import Packer, gathered
    from newroot.images.tree_out import pack_tree

    packer = Packer(what=source.path, ids=_ids(at, to_container))
    # A directory by what was found, not by its name, which may be another's by now.
    parent, last = (source.fd, ".") if source.is_dir else (source.parent, source.names[-1])
    called = os.fsencode(name)
    found = pack_tree(packer, parent, os.fsencode(last), called, closed=at.kernel)
    yield from filter(None, gathered(found))
    yield packer.end()


# ── names and ids ────────────────────────────────────────────────────────────────────────────


def _walk(at: Reached) -> Walk:
    return Walk(Entry((at.root,), stat.S_IFDIR), look_up)


def _find_source(walk: Walk, at: Reached, path: str, follow: bool) -> Found:
    found = _find(walk, at, path, follow=follow)
    if found.kind is None:
        raise _missing(path)
    if found.wants_dir and not found.is_dir:
        raise UsageError(f"copy {path}: it is not a directory")
    return found


def _find_target(walk: Walk, to: Reached, path: str) -> Found:
    return _find(walk, to, path, follow=True)


def _find(walk: Walk, at: Reached, path: str, *, follow: bool) -> Found:
    if not path:
        raise UsageError("a path to copy from or to is empty")
    try:
        # A relative path is the host's: in a container it begins at the root, as docker has it.
        whole = f"{os.getcwd()}/{path}" if at.is_host and path[0] != "/" else path
        parent, _, entry = walk.resolve(whole, follow=follow)
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(path) from None
    except OSError as error:
        raise explained(error, "copy: look up", path) from None
    here = entry if entry is not None else parent
    if os.fstat(here.fds[0]).st_dev in at.kernel:
        raise UsageError(
            f"copy {path}: that is the kernel's, and no file of the container's",
            hint="newroot exec runs a command that reads or writes it",
        )
    return Found(
        path=path,
        names=tuple(walk.names),
        kind=None if entry is None else stat.S_IFMT(entry.mode),
        parent=parent.fds[0],
        fd=-1 if entry is None else entry.fds[0],
    )


def _missing(path: str) -> NotFound:
    return NotFound(f"copy {path}: no such file or directory")


def _root_of(to: Reached) -> tuple[int, int]:
    """Whose things are that nobody says are anybody's."""
    if to.is_host:
        return os.geteuid(), os.getegid()
    return to_host(to.uids, 0) or 0, to_host(to.gids, 0) or 0


def _making(to: Reached, act: Callable[[], Laid]) -> Laid:
    """What is made in a user namespace's root is made by somebody who has an id in it."""
    if to.uids == IDENTITY or os.geteuid() != 0:
        return act()
    from newroot.linux.fsids import making_as

    return making_as(*_root_of(to), act)


def _ids(
    at: Reached, translate: Callable[[tuple[IdMap, ...], int], int | None]
) -> Callable[[int, int], tuple[int, int]] | None:
    if at.uids == IDENTITY == at.gids:
        return None

    def ids(uid: int, gid: int) -> tuple[int, int]:
        found = translate(at.uids, uid), translate(at.gids, gid)
        return tuple(_NOBODY if each is None else each for each in found)  # type: ignore[return-value]

    return ids
