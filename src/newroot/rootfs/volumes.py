"""Named volumes: directories that outlive containers, and are shared by them.

    volumes/<name>/data/         what a container mounts
    volumes/<name>/volume.json   what is known of it; also the lock of who fills it
    volumes/<name>/users/<id>    a link to a container whose record names it, running or not
    volumes/<name>/pending/      a whole copy of the image's files, on its way into data/
    volumes/.new-… .gone-…       one being made or removed; a crash may leave it, ``sweep`` takes it

A volume appears and disappears by one rename.  Who uses it holds a shared flock on its directory,
so the kernel counts the users and a ``kill -9`` uncounts them; who removes it needs an exclusive
one.  A container that does not run counts by a link, which leads nowhere when the container is
gone; it is made by who holds the volume.  Names were checked before they became paths.  Needs no
privilege for its own files.
"""

from __future__ import annotations

import errno
import fcntl
import os

from newroot.errors import AlreadyExists, NotFound, UsageError, WrongStatus
from newroot.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from newroot.rootfs.copy_up import Layers
    from newroot.rootfs.volume_options import Options

_ALNUM = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_NAME = _ALNUM | frozenset("_.-")


def check_volume_name(name: str) -> str:
    """Return *name* when Docker would take it for a volume: ``[a-zA-Z0-9][a-zA-Z0-9_.-]+``."""
    if 2 <= len(name) <= 255 and name[0] in _ALNUM and _NAME.issuperset(name):
        return name
    raise UsageError(
        f"invalid volume name {name!r}: only [a-zA-Z0-9][a-zA-Z0-9_.-]+ is allowed",
        hint="for a directory of the host use an absolute path, or one that begins with ./"
        if "/" in name
        else "at least two characters, at most 255",
    )


@record
class Volume:
    """What is known of one volume."""

    name: str
    mountpoint: str  #: its data directory on the host
    created: str  #: RFC 3339, UTC
    labels: tuple[tuple[str, str], ...] = ()
    anonymous: bool = False  #: nobody named it: it may go with its container, and by prune
    options: Options = ()  #: of what is not a directory of ours: volume_options.py

    def inspect(self) -> dict[str, Any]:
        """The fields that ``docker volume inspect`` has, and ``Anonymous``, as podman has it."""
        return {
            "CreatedAt": self.created,
            "Driver": "local",
            "Labels": dict(self.labels),
            "Mountpoint": self.mountpoint,
            "Name": self.name,
            "Options": dict(self.options),
            "Scope": "local",
            "Anonymous": self.anonymous,
        }


class VolumeStore:
    """The volumes below one root directory.  Safe to use from many processes and threads."""

    def __init__(self, root: str) -> None:
        self.directory = os.path.join(root, "volumes")

    # --- one volume ------------------------------------------------------------------------------

    def create(
        self,
        name: str | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        options: Options = (),
    ) -> Volume:
        """Make a volume, an anonymous one when *name* is None; one that is there is returned."""
        volume = self._new(name, labels or {}, options)
        while True:
            try:
                return self._publish(volume)
            except AlreadyExists:
                try:
                    return self.get(volume.name)
                except NotFound:  # it has been removed meanwhile
                    continue

    def get(self, name: str) -> Volume:
        """The volume *name*.  Raises NotFound.

        A damaged description costs the labels, not the data: the volume is then a named one.
        """
        import json

        path = os.path.join(self._path(name), "volume.json")
        try:
            with open(path, encoding="utf-8") as file:
                document = json.load(file)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(f"no volume {name}", hint="newroot volume ls shows all") from None
        except ValueError:
            document = {}
        if not isinstance(document, dict):
            document = {}
        return Volume(
            name=name,
            mountpoint=self.data_path(name),
            created=str(document.get("CreatedAt", "")),
            labels=tuple((document.get("Labels") or {}).items()),
            anonymous=document.get("Anonymous") is True,
            options=tuple(
                (str(key), str(value)) for key, value in (document.get("Options") or {}).items()
            ),
        )

    def data_path(self, name: str) -> str:
        """The directory that a container mounts."""
        return os.path.join(self._path(name), "data")

    def hold(
        self,
        name: str,
        *,
        anonymous: bool = False,
        labels: Mapping[str, str] | None = None,
        options: Options = (),
    ) -> int:
        """Make the volume when it is missing, and keep it from being removed.

        *anonymous* says that nobody chose *name*: the volume then goes with its container.
        *labels* and *options* are for one that is made.  Returns a descriptor: the volume is held
        until its last copy is closed.  Give it to the process whose life is the container's.
        """
        while True:
            fd = self._open_or_make(name, anonymous, labels or {}, options)
            try:
                fcntl.flock(fd, fcntl.LOCK_SH)
                # Between open and flock it may have been removed: then lock its successor.
                if _is_still(fd, self._path(name)):
                    return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def link(self, name: str, container_id: str) -> None:
        """Count a container among the users for as long as it has files; the volume is held."""
        users = f"{self._path(name)}/users"
        try:
            os.mkdir(users, 0o700)
        except FileExistsError:
            pass
        try:
            os.symlink(f"../../../containers/{container_id}", f"{users}/{container_id}")
        except FileExistsError:
            pass

    def users(self, name: str) -> tuple[str, ...]:
        """The ids of the containers that name it and stay, running or not."""
        users = f"{self._path(name)}/users"
        try:
            found = sorted(os.listdir(users))
        except FileNotFoundError:
            return ()
        return tuple(each for each in found if os.path.exists(f"{users}/{each}"))

    def is_used(self, name: str) -> bool:
        """Whether a container names it or holds it."""
        if self.users(name):
            return True
        try:
            fd = os.open(self._path(name), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def remove(self, name: str, *, missing_ok: bool = False) -> bool:
        """Remove the volume and all that is in it; return whether there was one.

        Raises WrongStatus while a container holds it or names it, NotFound unless *missing_ok*.
        """
        try:
            fd = os.open(self._path(name), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            if missing_ok:
                return False
            raise NotFound(f"no volume {name}", hint="newroot volume ls shows all") from None
        try:
            return self._remove_locked(fd, name)
        finally:
            os.close(fd)

    def _remove_locked(self, fd: int, name: str) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _in_use(name, self.users(name)) from None
        if not _is_still(fd, self._path(name)):
            return False
        # Who would name it now waits for our lock, and then makes another of that name.
        if users := self.users(name):
            raise _in_use(name, users)
        gone = self._beside("gone")
        os.rename(self._path(name), gone)
        _remove_tree(gone)
        return True

    # --- all volumes -----------------------------------------------------------------------------

    def list(self) -> tuple[Volume, ...]:
        """All volumes, by name; one that is removed meanwhile may be missing."""
        found = []
        for name in self._names():
            try:
                found.append(self.get(name))
            except NotFound:
                continue
        return tuple(found)

    def prune(
        self, *, every: bool = False, chosen: Callable[[Volume], bool] = lambda volume: True
    ) -> tuple[str, ...]:
        """Remove the volumes that nobody uses: the anonymous ones, or *every* one.

        That is Docker's rule since API 1.42.  Only those that *chosen* says.  Returns their names.
        """
        removed = []
        for volume in self.list():
            if not (every or volume.anonymous) or not chosen(volume):
                continue
            try:
                if self.remove(volume.name, missing_ok=True):
                    removed.append(volume.name)
            except WrongStatus:
                continue
        self.sweep()
        return tuple(removed)

    def sweep(self) -> None:
        """Remove what a crash left half-made or half-removed."""
        for entry in self._entries():
            if not entry.startswith((".new-", ".gone-")):
                continue
            path = os.path.join(self.directory, entry)
            try:
                fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            except FileNotFoundError:
                continue
            try:
                # Who makes or removes it has it locked.
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove_tree(path)
            except BlockingIOError:
                pass
            finally:
                os.close(fd)

    # --- filling ---------------------------------------------------------------------------------

    def fill(self, name: str, layers: Layers, path: str) -> bool:
        """Fill the empty volume *name* from what *layers* have at *path*; return whether it was.

        *layers* are the image's unpacked layers, topmost first; *path* is looked up in their
        union, symlinks staying inside it.  What is no directory there fills nothing.

        The caller holds the volume and has not mounted it yet.  Owners, modes, times, extended
        attributes, links and devices are the image's, also those of the directory itself.  It
        is copied beside and then moved in, so a crash leaves an empty volume or one that the next
        call completes; of two calls at once one fills and the other waits for it.
        """
        directory = self._path(name)
        if _has_entries(f"{directory}/data") and not os.path.lexists(f"{directory}/pending"):
            return False
        lock = os.open(f"{directory}/volume.json", os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return _fill_locked(directory, layers, path)
        finally:
            os.close(lock)

    # --- below -----------------------------------------------------------------------------------

    def _path(self, name: str) -> str:
        return os.path.join(self.directory, check_volume_name(name))

    def _entries(self) -> tuple[str, ...]:
        try:
            return tuple(sorted(os.listdir(self.directory)))
        except FileNotFoundError:
            return ()

    def _names(self) -> Iterator[str]:
        return (name for name in self._entries() if not name.startswith("."))

    def _beside(self, what: str) -> str:
        return os.path.join(self.directory, f".{what}-{os.urandom(8).hex()}")

    def _new(self, name: str | None, labels: Mapping[str, str], options: Options) -> Volume:
        import time

        if options:
            from newroot.rootfs.volume_options import check_options

            check_options(options)
        chosen = os.urandom(32).hex() if name is None else name
        return Volume(
            name=chosen,
            mountpoint=self.data_path(chosen),
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            labels=tuple(labels.items()),
            anonymous=name is None,
            options=options,
        )

    def _publish(self, volume: Volume) -> Volume:
        """Make *volume* beside, then give it its name in one step."""
        from newroot.linux.durable import fsync_directory

        # 0700: a program with the set-user-id bit that a container puts here is not to be found by
        # the host's users (CVE-2021-41091).
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        path = self._path(volume.name)
        new = self._beside("new")
        os.mkdir(new, 0o700)
        try:
            fd = os.open(new, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:  # a sweep came between mkdir and open
            return self._publish(volume)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if not _is_still(fd, new):  # or between open and flock
                return self._publish(volume)
            _write_volume(new, volume)
            os.rename(new, path)
            fsync_directory(self.directory)
        except OSError as error:
            _remove_tree(new)
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise AlreadyExists(f"volume {volume.name} exists") from None
            raise
        finally:
            os.close(fd)
        return volume

    def _open_or_make(
        self, name: str, anonymous: bool, labels: Mapping[str, str], options: Options
    ) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        while True:
            try:
                return os.open(self._path(name), flags)
            except FileNotFoundError:
                pass
            try:
                volume = self._new(name, labels, options)
                self._publish(replace(volume, anonymous=anonymous))
            except AlreadyExists:
                pass  # and it may be gone again before the next open


def _in_use(name: str, users: tuple[str, ...]) -> WrongStatus:
    by = f" by container {', '.join(user[:12] for user in users)}" if users else ""
    return WrongStatus(
        f"volume {name} is in use{by}",
        status="in use",
        wanted="unused",
        hint="remove the containers that mount it first",
    )


def _write_volume(directory: str, volume: Volume) -> None:
    import json

    from newroot.linux.durable import fsync_directory

    os.mkdir(f"{directory}/data", 0o755)
    document = volume.inspect()
    del document["Mountpoint"]  # it follows from where the store is
    with open(f"{directory}/volume.json", "x", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    fsync_directory(directory)


def _fill_locked(directory: str, layers: Layers, path: str) -> bool:
    from newroot.linux.durable import fsync_directory
    from newroot.rootfs.copy_up import copy_tree, move_into

    data, pending, beside = (f"{directory}/{n}" for n in ("data", "pending", "filling"))
    if not os.path.lexists(pending):
        if _has_entries(data):
            return False
        _remove_tree(beside)  # of a call that died
        if not copy_tree(layers, path, beside):
            return False
        fsync_directory(directory)
        os.rename(beside, pending)
    move_into(pending, data)
    return True


def _has_entries(directory: str) -> bool:
    with os.scandir(directory) as entries:
        return next(entries, None) is not None


def _is_still(fd: int, path: str) -> bool:
    """Whether *path* names what *fd* is open on."""
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(fd), there)


def _remove_tree(path: str) -> None:
    import shutil

    if not os.path.lexists(path):
        return
    try:
        # rmtree goes by descriptors, so a link that a container left leads nowhere.
        shutil.rmtree(path)
    except PermissionError:
        # Without privileges a directory of ours that we may not write keeps what is in it.
        for directory, _, _ in os.walk(path):
            os.chmod(directory, 0o700)
        shutil.rmtree(path)
