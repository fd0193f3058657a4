"""Where a container's files are, who holds them, and what is left when a holder was killed.

    <root>/containers/<id>/       upper/, work/, record.json, exit.json: as long as the container is
    <root>/names/<name>           a link to an id; making it is taking the name
    <root>/mnt/                   an empty directory, hidden by each container's scratch tmpfs
    <run_root>/<id>/state.json    what runs now; the directory is locked by whoever runs it
    <run_root>/<id>/pid           its first process, when that began, and how often it began anew
    <run_root>/<id>/attach        the socket of its monitor, if it has one: container/attach.py
    <run_root>/<id>/visited       it does not run: whoever has it looks at its files

The lock (flock(2)) is on an open directory, whose descriptor the launcher keeps until the last
process is dead.  So an entry that can be locked belongs to nobody that lives, and ``sweep()``
removes it with all that it names, whatever was killed when.
"""

from __future__ import annotations

import errno
import fcntl
import os

from newroot.errors import AlreadyExists, NotFound, SyscallError, UsageError
from newroot.linux.journal import Journal
from newroot.linux.trees import remove_tree
from newroot.oci import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

_ID_BYTES = 32
_FEW = 8  #: of many ids that begin alike, as many are named
#: The files of a run directory.
_OF_A_RUN = (
    "state.json", "state.json.new", "pid", "pid.new", "attach", "visited",
    "network.json", "network.json.new", "pasta.pid",
)  # fmt: skip
_ENDING_S = 2.0  # longer than a launcher takes to end, unless a process is stuck in the kernel


def new_id() -> str:
    """64 hexadecimal digits, as Docker's ids."""
    return os.urandom(_ID_BYTES).hex()


class Claim:
    """A container id that is ours while ``fd`` is open, here or in the launcher."""

    def __init__(self, storage: ContainerStorage, container_id: str, fd: int) -> None:
        self._storage = storage
        self.id = container_id
        self.fd = fd
        self.restarts = 0  #: how often it has begun anew already
        self.stays = False  #: its files are not the failing start's to remove
        self.state: dict[str, Any] = {"id": container_id}

    @property
    def directory(self) -> str:
        return self._storage.directory(self.id)

    @property
    def storage(self) -> ContainerStorage:
        return self._storage

    @property
    def run_root(self) -> str:
        return self._storage.run_root

    def is_left_over(self) -> bool:
        """Whether a holder that is dead has left something to clear up."""
        directory = self._storage.run_directory(self.id)
        return any(os.path.exists(f"{directory}/{name}") for name in ("state.json", "visited"))

    def write_state(self, **changes: Any) -> None:
        """Say what belongs to the container, before it is made: sweep() goes by it."""
        self.state.update(changes)
        path = f"{self._storage.run_directory(self.id)}/state.json"
        _write_beside(path, json.dumps(self.state))

    def write_pid(self, pid: int) -> None:
        """Say which process is the container's first, for whoever wants to signal it.

        In a file of its own and in one write(2): ext4 allocates and flushes what is renamed over
        another file (auto_da_alloc, ext4(5)), which would cost a start two milliseconds.
        """
        from newroot.linux.processes import start_ticks

        self._storage.note(self.id, "start")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            fd = os.open(f"{self._storage.run_directory(self.id)}/pid", flags, 0o600)
        except OSError:
            return  # a full disk is no reason to end what runs; others cannot signal it by us then
        try:
            os.write(fd, f"{pid} {start_ticks(pid)} {self.restarts}\n".encode())
        except OSError:
            pass
        finally:
            os.close(fd)

    def mark_visited(self) -> None:
        """Say that it does not run, and will be let go: others wait for it."""
        path = f"{self._storage.run_directory(self.id)}/visited"
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def make_upper(self) -> tuple[str, str]:
        """Make the upper and work directories."""
        upper, work = f"{self.directory}/upper", f"{self.directory}/work"
        for path in (self.directory, upper, work):
            _mkdir(path, 0o755 if path == upper else 0o700)
        return upper, work

    def open_events(self) -> int:
        """The directory that a monitor notes events in."""
        journal = self._storage.journal
        journal.make()
        return os.open(journal.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    @property
    def places(self) -> tuple[str, str]:
        """The root and the run root that it is below."""
        return self._storage.root, self.run_root

    def release(self, *, remove: bool) -> None:
        """The container has ended: nothing runs any more, and perhaps nothing stays."""
        if remove:
            self._storage.forget(self.id, self.state.get("name"))
            self._storage.note(self.id, "destroy")
        self._storage.end_run(self.id)
        os.close(self.fd)


class ContainerStorage:
    """The containers below one root."""

    def __init__(self, root: str, run_root: str) -> None:
        self.root = root
        self.run_root = run_root
        self.journal = Journal(f"{root}/events")
        self._made = False

    @property
    def mount_point(self) -> str:
        return f"{self.root}/mnt"

    def directory(self, container_id: str) -> str:
        return f"{self.root}/containers/{container_id}"

    def run_directory(self, container_id: str) -> str:
        return f"{self.run_root}/{container_id}"

    def prepare(self) -> None:
        """Make the directories that every start needs."""
        if self._made:
            return
        for path in (self.mount_point, f"{self.root}/containers", f"{self.root}/names"):
            os.makedirs(path, mode=0o711, exist_ok=True)
        os.makedirs(self.run_root, mode=0o711, exist_ok=True)
        self._made = True

    def claim(self, *, name: str | None = None, remove: bool, **facts: Any) -> Claim:
        """A new container id, locked.  *facts* are what others may want to know while it runs.

        Raises AlreadyExists when the name is taken.
        """
        from time import time

        self.prepare()
        container_id = new_id()
        fd = self._locked(container_id)
        claim = Claim(self, container_id, fd)
        try:
            claim.write_state(name=name, remove=remove, owner=os.getpid(), created=time(), **facts)
            if name is not None:
                self._take_name(name, container_id)
        except BaseException:
            self.end_run(container_id)
            os.close(fd)
            raise
        named = {"name": name} if name is not None else {}
        labels = facts.get("labels") or {}
        self.note(container_id, "create", **labels, image=str(facts.get("source", "")), **named)
        return claim

    def note(self, container_id: str, action: str, /, **attributes: str) -> None:
        """Say in the journal that something was done to a container: container/events.py."""
        from newroot.container.events import line

        self.journal.append(line("container", action, container_id, attributes))

    def hold(self, container_id: str) -> Claim | None:
        """A container that is there and does not run, locked; None while somebody has it.

        Whoever only looks at its files is waited for.
        """
        os.makedirs(self.run_root, mode=0o711, exist_ok=True)
        _mkdir(self.run_directory(container_id), 0o700)
        fd = self._try_lock(container_id)
        while fd is None and self._is_visited(container_id):
            self._wait_for(container_id)
            _mkdir(self.run_directory(container_id), 0o700)
            fd = self._try_lock(container_id)
        if fd is None:
            return None
        if not os.fstat(fd).st_nlink:  # its holder has just ended, and took the directory along
            os.close(fd)
            return None
        return Claim(self, container_id, fd)

    def begin_again(self, claim: Claim, name: str | None) -> None:
        """*claim* is that of a container that is there: its files stay, whatever becomes of it."""
        claim.stays = True
        claim.write_state(name=name, remove=False, owner=os.getpid())

    def _locked(self, container_id: str) -> int:
        """Make the run directory and lock it, though a sweep may come in between."""
        path = self.run_directory(container_id)
        while True:
            _mkdir(path, 0o700)
            try:
                fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_nlink:
                return fd
            os.close(fd)

    def _take_name(self, name: str, container_id: str) -> None:
        if self._link_name(name, container_id):
            return
        from newroot.container.sweep import sweep

        sweep(self)  # whoever has it may be dead
        self._free_if_lost(name)
        if not self._link_name(name, container_id):
            holder = self.find_name(name) or "another container"
            raise AlreadyExists(
                f"the name {name} is in use by container {holder[:12]}",
                hint=f"remove it first: newroot rm {name}; or choose another name",
            )

    def _free_if_lost(self, name: str) -> None:
        """Free a name whose container is gone, as a crash amid a renaming may leave one.

        Who takes a name has his run directory before; so one that leads nowhere is nobody's.
        """
        fd = os.open(f"{self.root}/names", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            holder = self.find_name(name)
            places = (self.directory, self.run_directory)
            if holder is not None and not any(os.path.isdir(p(holder)) for p in places):
                _unlink(f"{self.root}/names/{name}")
        finally:
            os.close(fd)

    def _link_name(self, name: str, container_id: str) -> bool:
        try:
            os.symlink(container_id, f"{self.root}/names/{name}")
        except FileExistsError:
            return self.find_name(name) == container_id
        return True

    def find_name(self, name: str) -> str | None:
        """The id of the container called *name*."""
        try:
            return os.readlink(f"{self.root}/names/{name}")
        except OSError:
            return None

    def ids(self) -> list[str]:
        """All containers that have files, running or not."""
        try:
            return sorted(os.listdir(f"{self.root}/containers"))
        except FileNotFoundError:
            return []

    def known(self) -> list[str]:
        """All that have files or run: a throw-away one with its upper in memory has no files."""
        return sorted({*self.ids(), *self.running_ids()})

    def running_ids(self) -> list[str]:
        """Whose run directory is there: what runs, and what somebody's death has left."""
        try:
            return [name for name in os.listdir(self.run_root) if len(name) == 2 * _ID_BYTES]
        except FileNotFoundError:
            return []

    def resolve(self, name_or_prefix: str) -> str:
        """The id that a name, an id, or the unambiguous beginning of one means."""
        named = self.find_name(name_or_prefix) if "/" not in name_or_prefix else None
        if named is not None:
            return named
        found = [i for i in self.known() if name_or_prefix and i.startswith(name_or_prefix)]
        if len(found) == 1:
            return found[0]
        if found:
            raise NotFound(
                f"{name_or_prefix} is the beginning of {len(found)} container ids: "
                + self._listed(found),
                hint="write more of the one that is meant, or its name",
            )
        raise NotFound(f"no container {name_or_prefix}", hint="newroot ps -a shows all")

    def _listed(self, ids: list[str]) -> str:
        names = [self.record(i).get("name") or self.state(i).get("name") for i in ids[:_FEW]]
        shown = [f"{i[:12]} ({n})" if n else i[:12] for i, n in zip(ids, names, strict=False)]
        return ", ".join(shown) + (", …" if len(ids) > _FEW else "")

    def record(self, container_id: str) -> dict[str, Any]:
        """What was written about a container when it was made; empty if nothing was."""
        return _read(f"{self.directory(container_id)}/record.json")

    def state(self, container_id: str) -> dict[str, Any]:
        """What runs now; empty when it does not run.

        ``pid`` and ``startTicks`` are among it once the first process is there, ``network`` and
        ``ports`` when it is on one that was wired: container/network_facts.py.
        """
        directory = self.run_directory(container_id)
        found = {**_read(f"{directory}/state.json"), **_read_pid(f"{directory}/pid")}
        if "networks" in found:  # its wiring was begun
            from newroot.container.network_facts import ports_of

            found["network"] = _read(f"{directory}/network.json")
            found["ports"] = ports_of(found["network"])
        if "health" in found:
            from newroot.container.health import read_health

            found["healthLog"] = read_health(self, container_id, found.get("startTicks"))
            found["health"] = found["healthLog"]["Status"]
        return found

    def health(self, container_id: str) -> dict[str, Any]:
        """What its last health checks came to; empty before the first."""
        return _read(f"{self.directory(container_id)}/health.json")

    def config(self, container_id: str) -> dict[str, Any]:
        """Its config.json, as its last start had it; empty before the first."""
        return _read(f"{self.directory(container_id)}/config.json")

    def note_networks(self, container_id: str, *, add: str) -> None:
        """Say that a container that runs is on one more network; whoever calls is the only one."""
        path = f"{self.run_directory(container_id)}/state.json"
        state = _read(path)
        names = [*state.get("networks", ()), add]
        _write_beside(path, json.dumps({**state, "networks": list(dict.fromkeys(names))}))

    def exit(self, container_id: str) -> dict[str, Any]:
        """How it ended last; empty when it has not."""
        return _read(f"{self.directory(container_id)}/exit.json")

    def forget_exit(self, container_id: str) -> None:
        """It is about to begin: how it ended last is no longer how it ended."""
        _unlink(f"{self.directory(container_id)}/exit.json")

    def write(
        self, container_id: str, document: str, value: dict[str, Any], *, new: bool = True
    ) -> None:
        """Write a container's document: whole, or not at all, and for good.

        A container that goes at its end does not wait for the disk, nor does ``config.json``, which
        the next start draws anew.  With *new* the container itself may be.
        """
        directory = self.directory(container_id)
        lasting = (
            document not in ("config.json", "health.json")
            and self.state(container_id).get("remove") is not True
        )
        _write_beside(f"{directory}/{document}", json.dumps(value), lasting=lasting)
        if lasting and new and document == "record.json":
            from newroot.linux.durable import fsync_directory

            fsync_directory(f"{self.root}/containers")

    def change_record(
        self, container_id: str, change: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> None:
        """Replace a container's record by what *change* makes of it, one change at a time."""
        fd = os.open(self.directory(container_id), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            before = self.record(container_id)
            self.write(container_id, "record.json", change(before), new=not before)
        finally:
            os.close(fd)

    def is_running(self, container_id: str) -> bool:
        """Whether somebody holds the container."""
        # A shared lock: two who ask at once do not take each other for the holder.
        fd = self._try_lock(container_id, fcntl.LOCK_SH)
        if fd is None:
            is_there = os.path.isdir(self.run_directory(container_id))
            return is_there and not self._is_visited(container_id)
        os.close(fd)
        return False

    def _is_visited(self, container_id: str) -> bool:
        return os.path.exists(f"{self.run_directory(container_id)}/visited")

    def _wait_for(self, container_id: str) -> None:
        """Wait until whoever has the container lets it go."""
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            fd = os.open(self.run_directory(container_id), flags)
        except FileNotFoundError:
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
        finally:
            os.close(fd)

    def forget(self, container_id: str, name: str | None) -> None:
        """Remove a container's files and free its name, and the one it was renamed to."""
        renamed = self.record(container_id).get("name")
        remove_tree(self.directory(container_id))
        for each in {known for known in (name, renamed) if isinstance(known, str)}:
            self._free_name(each, container_id)

    def _free_name(self, name: str | None, container_id: str) -> None:
        if name is not None and self.find_name(name) == container_id:
            _unlink(f"{self.root}/names/{name}")

    def rename(self, container_id: str, new: str) -> str:
        """Give a container another name; return the one that it had, empty for none.

        Raises AlreadyExists when another has it.
        """
        record = self.record(container_id)
        old = record.get("name") or self.state(container_id).get("name")
        if old == new:
            raise AlreadyExists(f"container {container_id[:12]} has the name {new} already")
        self._take_name(new, container_id)
        self.change_record(container_id, lambda now: {**now, "name": new})
        self._free_name(old, container_id)
        return old or ""

    def forget_process(self, container_id: str) -> None:
        """Its first process has ended, and another is about to begin."""
        for name in ("pid", "attach"):
            _unlink(f"{self.run_directory(container_id)}/{name}")

    def end_run(self, container_id: str) -> None:
        """Remove the run directory; its lock is still held."""
        path = self.run_directory(container_id)
        for name in _OF_A_RUN:
            _unlink(f"{path}/{name}")
        try:
            os.rmdir(path)
        except FileNotFoundError:
            pass

    def _try_lock(self, container_id: str, kind: int = fcntl.LOCK_EX) -> int | None:
        """The run directory's descriptor, locked; None when it is held or not there."""
        try:
            fd = os.open(
                self.run_directory(container_id), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            )
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        return fd

    def _owner_is_dead(self, container_id: str) -> bool:
        state = self.state(container_id)
        owner = state.get("owner")
        return isinstance(owner, int) and not state.get("detached") and not _is_alive(owner)

    def _lock_soon(self, container_id: str) -> int | None:
        """The launcher of a dead owner lets go as soon as it has killed what it started."""
        from time import monotonic, sleep

        end = monotonic() + _ENDING_S
        while monotonic() < end:
            fd = self._try_lock(container_id)
            if fd is not None or not os.path.isdir(self.run_directory(container_id)):
                return fd
            sleep(0.002)
        return None

    def abandoned(self) -> Iterator[Claim]:
        """The entries whose holder is dead, each locked while it is looked at."""
        for container_id in self.running_ids():
            fd = self._try_lock(container_id)
            if fd is None and self._owner_is_dead(container_id):
                fd = self._lock_soon(container_id)
            if fd is None:
                continue
            claim = Claim(self, container_id, fd)
            claim.state = self.state(container_id)
            yield claim


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _mkdir(path: str, mode: int) -> None:
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        pass
    except OSError as error:
        raise _failed("mkdir", path, error) from error


def _failed(call: str, path: str, error: OSError) -> SyscallError:
    number = error.errno or 0
    name = errno.errorcode.get(number, str(number))
    hints = {
        errno.ENOSPC: "the disk is full: newroot system df shows what newroot holds",
        errno.EROFS: "the file system is read-only: choose another place with --root",
        errno.EACCES: "this needs root, or a --root of your own",
    }
    return SyscallError(
        f"{call} {path}: {error.strerror} ({name})",
        errno=number,
        call=call,
        target=path,
        hint=hints.get(number),
    )


def _write_beside(path: str, text: str, *, lasting: bool = False) -> None:
    """Replace *path* in one step; a reader sees the old or the new, whole.

    With *lasting* it is on the disk on return.  Without, a power loss may leave it empty: the state
    of what runs is gone with it anyway.
    """
    beside = f"{path}.new"
    try:
        with open(beside, "w", encoding="utf-8") as file:
            file.write(text)
            if lasting:
                file.flush()
                os.fsync(file.fileno())  # before the name: what is named is whole
        os.rename(beside, path)
        if lasting:
            from newroot.linux.durable import fsync_directory

            fsync_directory(os.path.dirname(path))
    except OSError as error:
        raise _failed("write", path, error) from error


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb", buffering=0) as file:
            value = json.loads(file.read(), what=path)
    except (FileNotFoundError, NotADirectoryError, UsageError):
        return {}  # not there, or damaged: one bad file must not hide all other containers
    return value if isinstance(value, dict) else {}


def _read_pid(path: str) -> dict[str, Any]:
    """The first process and when it began; empty before both are written.

    How often it began anew is said by a monitor alone: native/monitor.c, note_pid().
    """
    try:
        with open(path, "rb", buffering=0) as file:
            pid, ticks, *restarts = map(int, file.read().split())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return {"pid": pid, "startTicks": ticks, "restarts": sum(restarts)}


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
