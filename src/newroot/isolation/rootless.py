"""An ordinary user becomes root of a user namespace, and all that newroot does is done in there.

One namespace for all that a user runs below one run root: who may look into a container, signal it,
or remove its files has to be in the container's namespace or above, and of two namespaces side by
side neither is.  The first process that needs it makes it; those that come while it is in use go
into it.  It is nobody's: it ends with the last process in it.

    <run_root>-userns/<pid>     who is in it, and when that process began; the directory is locked
                                while somebody looks or makes one

The mount namespace stays the caller's: what is mounted is mounted in the containers' own.
"""

from __future__ import annotations

import fcntl
import os

from newroot.errors import SyscallError, UnsupportedError
from newroot.linux import user_namespaces
from newroot.linux.processes import start_ticks
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from newroot.isolation.own_ids import OwnIds
    from newroot.linux.idmap import IdMap

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@record
class Stay:
    """This process is in the user's namespace, and is known to be."""

    directory: str

    def __enter__(self) -> Stay:
        return self

    def __exit__(self, *error: object) -> None:
        """Be no longer among those that others find it by; this process stays in it."""
        try:
            os.unlink(f"{self.directory}/{os.getpid()}")
        except OSError:
            pass  # whoever looks next finds us dead


def note(run_root: str, pid: int) -> None:
    """A process of ours that will outlive this one is in the namespace of *run_root*, if any."""
    directory = f"{run_root}-userns"
    if os.path.isdir(directory) and user_namespaces.is_in_user_namespace():
        _note(directory, pid)


def enter(run_root: str) -> Stay:
    """Go into the user's namespace; afterwards this process is root, and may mount.

    Only for a process with one thread, which cannot come back.  Raises UnsupportedError where
    there are no user namespaces, with the reason and the remedy; SyscallError when newuidmap(1)
    refuses.  It is then where it was.
    """
    directory = f"{run_root}-userns"
    os.makedirs(directory, mode=0o700, exist_ok=True)
    lock = os.open(directory, _DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        there = _find(directory)
        if there is None:
            from newroot.isolation.own_ids import own_ids

            there = _make(own_ids(os.geteuid(), os.getegid()))
        try:
            user_namespaces.join(there)
        finally:
            os.close(there)
        _be_root()
        _note(directory, os.getpid())
    finally:
        os.close(lock)
    return Stay(directory=directory)


def _find(directory: str) -> int | None:
    """The namespace of those who are noted; the dead are forgotten."""
    for name in os.listdir(directory):
        path = f"{directory}/{name}"
        fd = _namespace_of(name, path)
        if fd is not None:
            return fd
        os.unlink(path)
    return None


def _namespace_of(name: str, path: str) -> int | None:
    try:
        with open(path, "rb", buffering=0) as file:
            began = int(file.read())
        fd = os.open(f"/proc/{int(name)}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    if start_ticks(int(name)) == began:  # asked with the namespace in hand: it is that process's
        return fd
    os.close(fd)
    return None


def _note(directory: str, pid: int) -> None:
    ticks = start_ticks(pid)
    if ticks is not None:
        with open(f"{directory}/{pid}", "wb", buffering=0) as file:
            file.write(b"%d\n" % ticks)


# ---- a new one ----


def enter_new(ids: OwnIds) -> None:
    """Go into a namespace of *ids* that nobody else will be in, as root: like ``enter()``.

    Whoever made it may do anything in those made inside it, from out here too.
    """
    made = _make(ids)
    try:
        user_namespaces.join(made)
    finally:
        os.close(made)
    _be_root()


def _make(ids: OwnIds) -> int:
    """A namespace with the user's *ids*; its descriptor."""
    reader, writer = os.pipe()
    pid = _child_in_new_namespace(reader, writer)
    try:
        os.close(reader)
        error = _read_error(pid[1])
        if error:
            raise _none(error)
        _map(pid[0], ids)
        return os.open(f"/proc/{pid[0]}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(writer)
        os.waitpid(pid[0], 0)


def _child_in_new_namespace(wait: int, writer: int) -> tuple[int, int]:
    """A child that has gone into a new namespace, and a pipe on which it says how that went.

    It waits until *writer* is closed, by whatever end of ours.
    """
    reader, said = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(writer)
            try:
                user_namespaces.unshare()
                os.write(said, b"0")
            except SyscallError as error:
                os.write(said, b"%d" % (error.errno or 1))
            os.read(wait, 1)
        finally:
            os._exit(0)
    os.close(said)
    return pid, reader


def _read_error(fd: int) -> int:
    try:
        return int(os.read(fd, 16) or b"1")
    finally:
        os.close(fd)


def _none(error: int) -> UnsupportedError:
    from newroot.isolation.rungs import why_none

    why, remedy = why_none(error)
    return UnsupportedError(
        f"no user namespace is to be had, and without root newroot needs one: {why}",
        feature="user namespaces",
        tried=f"unshare(CLONE_NEWUSER): {os.strerror(error)}",
        hint=remedy,
    )


def _map(pid: int, ids: OwnIds) -> None:
    if not ids.by_us:
        running = [_start_mapping("newuidmap", pid, ids.uids)]
        running.append(_start_mapping("newgidmap", pid, ids.gids))
        for name, child, output in running:
            _wait_mapped(name, child, output)
        return
    try:
        if ids.is_single:
            # Else a map of groups may not be written: CVE-2014-8989.
            _write(f"/proc/{pid}/setgroups", b"deny")
        for kind, maps in (("uid", ids.uids), ("gid", ids.gids)):
            from newroot.linux.idmap import format

            _write(f"/proc/{pid}/{kind}_map", format(maps).encode())
    except OSError as error:
        # Ubuntu's AppArmor lets anybody make one, and do nothing with it.
        raise _none(error.errno or 1) from error


def _write(path: str, text: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)


def _start_mapping(name: str, pid: int, maps: Sequence[IdMap]) -> tuple[str, int, int]:
    from newroot.isolation.own_ids import find_program

    numbers = [str(n) for m in maps for n in (m.container_id, m.host_id, m.size)]
    reader, writer = os.pipe()
    try:
        child = os.posix_spawn(
            str(find_program(name)),
            [name, str(pid), *numbers],
            dict(os.environ),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
                (os.POSIX_SPAWN_DUP2, writer, 1),
                (os.POSIX_SPAWN_DUP2, writer, 2),
            ],
        )
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    return name, child, reader


def _wait_mapped(name: str, child: int, output: int) -> None:
    with open(output, "rb") as file:
        said = file.read().decode("utf-8", "replace").strip()
    _, status = os.waitpid(child, 0)
    if status != 0:
        raise SyscallError(
            f"mapping ids by {name}: {said or 'it failed'}",
            errno=1,
            call=name,
            target="user namespace",
            hint=f"is {name} set-user-ID root, and are the ranges in /etc/subuid and /etc/subgid "
            "nobody else's?",
        )


def _be_root() -> None:
    """Who owned the namespace before it joined is root in it; who was root before may not be."""
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
