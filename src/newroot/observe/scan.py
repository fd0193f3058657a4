"""Every namespace of the host, who is in it, whose it is, and what keeps the empty ones.

Three ways lead to a namespace: a process in it, a descriptor of it that a process has open, a bind
of it that some mount namespace shows.  A fourth is another namespace that it owns or that is nested
in it.  All four are looked at.  Nothing needs root: what the kernel does not show this process is
left out, and counted in ``unread``.

Not seen: namespaces that only a thread other than the first is in, or that only sit in the queue
of a socket, or below a mount namespace without a process.
"""

from __future__ import annotations

import os

from newroot.linux import nsfs
from newroot.linux.mountinfo import parse_mount
from newroot.observe.engines import Containers
from newroot.observe.process import brief, command_of, read_file
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from newroot.observe.engines import EngineContainer
    from newroot.observe.process import Brief


@record
class Keeper:
    """What keeps a namespace that no process is in."""

    kind: str  #: ``descriptor``, ``mount``, or ``child``: a namespace that it owns or encloses
    pid: int | None = None  #: whose descriptor, or who sees the mount
    path: str = ""  #: /proc/PID/fd/N, or the mount point
    child: int | None = None


@record
class Namespace:
    """One namespace."""

    id: int  #: its inode in nsfs
    type: str  #: cgroup, ipc, mnt, net, pid, time, user or uts
    processes: tuple[int, ...]  #: the ids of those in it, ascending
    users: tuple[int, ...]  #: their effective user ids, ascending
    command: str  #: of the first of them; empty when there is none
    container: EngineContainer | None  #: that of the first of them; None for the host's own
    owner: int | None  #: the user namespace that it belongs to; None when the kernel does not say
    parent: int | None  #: what a pid or user namespace is nested in; None as *owner*
    owner_uid: int | None = None  #: who made a user namespace
    kept_by: tuple[Keeper, ...] = ()  #: beside its processes

    @property
    def pid(self) -> int | None:
        """Its first process."""
        return self.processes[0] if self.processes else None


@record
class Census:
    """All that one look at the host found."""

    namespaces: tuple[Namespace, ...]  #: by type and id
    processes: int  #: how many were looked at
    unread: tuple[int, ...]  #: processes whose namespaces are not ours to see
    unread_descriptors: tuple[int, ...]  #: processes whose descriptors are not ours to see
    host: frozenset[int] = frozenset()  #: the ids of the host's own: process 1 is in them

    def of_process(self, pid: int) -> tuple[Namespace, ...]:
        """The namespaces that process *pid* is in."""
        return tuple(found for found in self.namespaces if pid in found.processes)

    def find(self, id: int) -> Namespace | None:
        """The namespace with this *id*."""
        return next((found for found in self.namespaces if found.id == id), None)


def namespaces(
    *,
    known: Mapping[int, EngineContainer] | None = None,
    states: tuple[str, ...] = (),
    kept: bool = True,
) -> tuple[Namespace, ...]:
    """Every namespace on this host that the kernel shows this process; see ``census``."""
    return census(known=known, states=states, kept=kept).namespaces


def census(
    *,
    known: Mapping[int, EngineContainer] | None = None,
    states: tuple[str, ...] = (),
    kept: bool = True,
) -> Census:
    """Look at every process, and at what keeps namespaces alive without one.

    *known* are first processes of containers that the caller can name, *states* state directories
    of OCI runtimes beside the usual.  Without *kept*, descriptors and mounts are not looked
    through, which halves the time.
    """
    scan = _Scan(nsfs.types_here())
    scan.read_processes(descriptors=kept)
    if kept:
        scan.read_mounts()
    relations = scan.relations()
    containers = Containers(known, states)
    found = [scan.namespace(key, relations[key], containers) for key in sorted(relations)]
    return Census(
        namespaces=tuple(found),
        processes=scan.count,
        unread=tuple(scan.unread),
        unread_descriptors=tuple(scan.unread_fds),
        host=frozenset(number for _, number in scan.host),
    )


_Key = tuple[str, int]  # type and id


@record
class _Relation:
    owner: int | None = None
    parent: int | None = None
    owner_uid: int | None = None


class _Scan:
    """What was seen so far: members, keepers, and a path to open each namespace by."""

    def __init__(self, types: tuple[str, ...]) -> None:
        self.types = types
        self.device = os.stat("/proc/self/ns/user").st_dev
        self.host = _of_host(types)
        self.count = 0
        self.unread: list[int] = []
        self.unread_fds: list[int] = []
        self.members: dict[_Key, list[Brief]] = {}
        self.keepers: dict[_Key, list[Keeper]] = {}

    # ── processes ────────────────────────────────────────────────────────────────────────────

    def read_processes(self, *, descriptors: bool) -> None:
        links: dict[str, _Key] = {}  # a host has a few namespaces and many links to them
        for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
            about = brief(pid)
            if about is None:
                continue
            self.count += 1
            if self._read_links(about, links) and descriptors:
                self._read_descriptors(pid)

    def _read_links(self, about: Brief, links: dict[str, _Key]) -> bool:
        place = f"/proc/{about.pid}/ns/"
        members = self.members
        for kind in self.types:
            try:
                text = os.readlink(place + kind)
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended; of one that is dead and not yet reaped some are left
            except PermissionError:
                self.unread.append(about.pid)
                return False
            key = links.get(text)
            if key is None:
                parsed = nsfs.parse_link(text)
                if parsed is None:
                    continue
                key = links[text] = parsed
            if key in members:
                members[key].append(about)
            else:
                members[key] = [about]
        return True

    def _read_descriptors(self, pid: int) -> None:
        place = f"/proc/{pid}/fd/"
        try:
            names = os.listdir(place)
        except PermissionError:
            self.unread_fds.append(pid)
            return
        except OSError:
            return
        for name in names:
            try:
                text = os.readlink(place + name)
            except OSError:
                continue
            if text[:1] != "/" and (key := nsfs.parse_link(text)):
                self._keep(key, Keeper(kind="descriptor", pid=pid, path=place + name))

    def _keep(self, key: _Key, keeper: Keeper) -> None:
        self.keepers.setdefault(key, []).append(keeper)

    # ── mounts ───────────────────────────────────────────────────────────────────────────────

    def read_mounts(self) -> None:
        """Find the binds of namespaces in every mount namespace that a process is in."""
        for (kind, _), members in list(self.members.items()):
            if kind == "mnt":
                for about in members:
                    table = read_file(f"/proc/{about.pid}/mountinfo")
                    if table:  # else it has ended: its neighbour sees the same
                        self._read_table(about.pid, table)
                        break

    def _read_table(self, pid: int, table: bytes) -> None:
        if b" - nsfs " not in table:
            return
        for line in table.split(b"\n"):
            if b" - nsfs " not in line:
                continue
            mount = parse_mount(os.fsdecode(line))
            if key := nsfs.parse_link(mount.root):
                self._keep(key, Keeper(kind="mount", pid=pid, path=mount.mount_point))

    # ── how they belong together ─────────────────────────────────────────────────────────────

    def relations(self) -> dict[_Key, _Relation]:
        """Owner and parent of each; those that only this shows become known with it."""
        found: dict[_Key, _Relation] = {}
        for key in (*self.members, *self.keepers):
            if key not in found:
                fd = self._open(key)
                found[key] = _Relation()
                if fd is not None:
                    self._relate(key, fd, found)
        return found

    def _relate(self, key: _Key, fd: int, found: dict[_Key, _Relation]) -> None:
        """Ask the namespace open on *fd*, and those that it leads to; closes *fd*."""
        try:
            owner = self._follow(key, nsfs.owner_of(fd), "user", found)
            parent = None
            if key[0] in nsfs.NESTING:
                parent = self._follow(key, nsfs.parent_of(fd), key[0], found)
            uid = nsfs.owner_uid(fd) if key[0] == "user" else None
            found[key] = _Relation(owner=owner, parent=parent, owner_uid=uid)
        finally:
            os.close(fd)

    def _follow(
        self, child: _Key, fd: int | None, kind: str, found: dict[_Key, _Relation]
    ) -> int | None:
        if fd is None:
            return None
        key = (kind, os.fstat(fd).st_ino)
        if key in found or key in self.members or key in self.keepers:
            os.close(fd)
            if key not in self.members and key not in self.keepers:
                return key[1]
        else:
            found[key] = _Relation()
            self._relate(key, fd, found)
        if key not in self.members:
            self._keep(key, Keeper(kind="child", child=child[1]))
        return key[1]

    def _open(self, key: _Key) -> int | None:
        """A descriptor of just this namespace, by any of the ways to it."""
        for path in self._paths(key):
            try:
                # O_NONBLOCK: what stands at a mount point now may be a pipe.
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError:
                continue
            opened = os.fstat(fd)
            if (opened.st_dev, opened.st_ino) == (self.device, key[1]):
                return fd
            os.close(fd)
        return None

    def _paths(self, key: _Key) -> Iterator[str]:
        for about in self.members.get(key, ())[:8]:
            yield f"/proc/{about.pid}/ns/{key[0]}"
        for keeper in self.keepers.get(key, ())[:8]:
            if keeper.kind == "descriptor":
                yield keeper.path
            elif keeper.kind == "mount":
                yield f"/proc/{keeper.pid}/root{keeper.path}"

    # ── the answer ───────────────────────────────────────────────────────────────────────────

    def namespace(self, key: _Key, relation: _Relation, containers: Containers) -> Namespace:
        members = self.members.get(key, ())
        first = members[0].pid if members else None
        return Namespace(
            id=key[1],
            type=key[0],
            processes=tuple(about.pid for about in members),
            users=tuple(sorted({about.uid for about in members})),
            command=_shown_command(first) if first is not None else "",
            container=None if first is None or key in self.host else containers.of(first),
            owner=relation.owner,
            parent=relation.parent,
            owner_uid=relation.owner_uid,
            kept_by=tuple(self.keepers.get(key, ())),
        )


def _links_of(pid: int | str, types: tuple[str, ...]) -> set[_Key]:
    found = set()
    for kind in types:
        try:
            key = nsfs.parse_link(os.readlink(f"/proc/{pid}/ns/{kind}"))
        except OSError:
            continue
        if key is not None:
            found.add(key)
    return found


def _of_host(types: tuple[str, ...]) -> set[_Key]:
    """The namespaces of process 1; a kernel thread's, or our own, where those are not shown."""
    second = brief(2)
    kernel = (2,) if second is not None and second.ppid == 0 else ()
    for pid in (1, *kernel):
        if found := _links_of(pid, types):
            return found
    return _links_of("self", types)


def _shown_command(pid: int) -> str:
    line = command_of(pid)
    if line:
        return line
    name = read_file(f"/proc/{pid}/comm", once=True)
    return f"[{os.fsdecode(name.rstrip(chr(10).encode()))}]" if name else ""
