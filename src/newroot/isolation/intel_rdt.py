"""``linux.intelRdt``: a container's share of caches and memory bandwidth (config-linux.md).

The kernel shows Intel's Resource Director Technology as a file system, resctrl: a directory is a
class of service, its ``schemata`` says what it may use, its ``tasks`` who is in it, and below
``mon_groups`` is what is counted apart (Documentation/filesystems/resctrl.rst).  Where it is
mounted comes in as an argument, for few machines have it.
"""

from __future__ import annotations

import errno
import os

from newroot.errors import SpecError, SyscallError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

POINTER = "/linux/intelRdt"
_RESERVED = frozenset((".", "..", "info", "mon_groups", "mon_data"))


def find_resctrl() -> str:
    """Where resctrl is mounted.  Raises UnsupportedError where it is not."""
    from newroot.linux.mountinfo import read_mounts

    for mount in read_mounts():
        if mount.fstype == "resctrl":
            return mount.mount_point
    raise UnsupportedError(
        f"{POINTER}: no resctrl file system is mounted",
        feature="Intel RDT",
        tried="no mount of the type resctrl in /proc/self/mountinfo",
        hint="mount -t resctrl resctrl /sys/fs/resctrl, on a machine that has it; or leave it out",
    )


def prepare(rdt: dict[str, Any], container_id: str, root: str) -> tuple[str, ...]:
    """Make or check *container_id*'s class below *root*; return the files to join it by.

    Raises SpecError when the class is there and is another than the config says, or is not there
    and should be; SyscallError when the kernel refuses it.  Nothing of ours is left then.
    """
    named = rdt.get("closID")
    directory = _directory(rdt, container_id, root)
    lines, schemata = _cache_lines(rdt), rdt.get("schemata") or []
    made = False
    if not os.path.isdir(directory):
        if named and not (lines or schemata):
            raise SpecError(f"there is no class {named}", pointer=f"{POINTER}/closID")
        _make(directory)
        made = True
    elif named and lines:
        _compare(lines, directory)
        lines = []
    try:
        for part in (lines, schemata):
            if part:
                _write(f"{directory}/schemata", "".join(f"{line}\n" for line in part))
        if rdt.get("enableMonitoring"):
            _make(_monitoring(directory, container_id))
    except BaseException:
        if made:
            _remove(directory)
        raise
    return files(rdt, container_id, root)


def files(rdt: dict[str, Any], container_id: str, root: str) -> tuple[str, ...]:
    """The files by which a process joins *container_id*'s class, and its group in there."""
    directory = _directory(rdt, container_id, root)
    groups = (_monitoring(directory, container_id),) if rdt.get("enableMonitoring") else ()
    return tuple(f"{place}/tasks" for place in (directory, *groups))


def remove(rdt: dict[str, Any], container_id: str, root: str) -> None:
    """Remove what ``prepare()`` made for *container_id*: a class that has a name is not ours."""
    directory = _directory(rdt, container_id, root)
    if rdt.get("enableMonitoring"):
        _remove(_monitoring(directory, container_id))
    if not rdt.get("closID"):
        _remove(directory)


def _directory(rdt: dict[str, Any], container_id: str, root: str) -> str:
    name = rdt.get("closID") or container_id
    if name == "/":
        return root  # the class of all that are in no other
    if name in _RESERVED or "/" in name or "\n" in name:
        raise SpecError(f"no name for a class: {name!r:.100}", pointer=f"{POINTER}/closID")
    return f"{root}/{name}"


def _monitoring(directory: str, container_id: str) -> str:
    return f"{directory}/mon_groups/{container_id}"


def _cache_lines(rdt: dict[str, Any]) -> list[str]:
    """The lines of ``l3CacheSchema`` and ``memBwSchema``, whose MB: lines beat the former's."""
    cache, bandwidth = rdt.get("l3CacheSchema") or "", rdt.get("memBwSchema") or ""
    if bandwidth and (not bandwidth.startswith("MB:") or "\n" in bandwidth):
        raise SpecError("must be one line that starts with MB:", pointer=f"{POINTER}/memBwSchema")
    lines = [line.strip() for line in cache.splitlines() if line.strip()]
    if not bandwidth:
        return lines
    return [*(line for line in lines if not line.startswith("MB:")), bandwidth.strip()]


def _compare(lines: list[str], directory: str) -> None:
    """Whether the class that is there says what *lines* say."""
    there = _parsed(_read(f"{directory}/schemata").splitlines())
    for (resource, domain), value in _parsed(lines).items():
        if there.get((resource, domain)) != value:
            raise SpecError(
                f"the class has another {resource}:{domain}",
                pointer=f"{POINTER}/closID",
                hint=f"compare with {directory}/schemata",
            )


def _parsed(lines: list[str]) -> dict[tuple[str, str], str]:
    """``L3:0=f;1=3`` as the value of each domain, without leading zeros."""
    found = {}
    for line in lines:
        resource, _, domains = line.strip().partition(":")
        for part in domains.split(";"):
            domain, _, value = part.partition("=")
            found[resource.strip(), domain.strip()] = value.strip().lstrip("0").lower()
    return found


def _make(directory: str) -> None:
    try:
        os.mkdir(directory, 0o755)
    except OSError as error:
        hint = "there are no more classes or groups" if error.errno == errno.ENOSPC else None
        raise _failed("mkdir", directory, error, hint) from error


def _remove(directory: str) -> None:
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _failed("rmdir", directory, error, None) from error


def _write(path: str, text: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        status = f"{os.path.dirname(os.path.dirname(path))}/info/last_cmd_status"
        raise _failed("write", path, error, f"the kernel says why in {status}") from error


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise _failed("read", path, error, None) from error


def _failed(call: str, path: str, error: OSError, hint: str | None) -> SyscallError:
    name = errno.errorcode.get(error.errno or 0, str(error.errno))
    return SyscallError(
        f"{POINTER}: {call} {path}: {error.strerror} ({name})",
        errno=error.errno or 0,
        call=call,
        target=path,
        hint=hint,
    )
