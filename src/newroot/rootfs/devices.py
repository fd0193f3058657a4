"""What stands in a container's /dev: runtime-spec, config-linux.md, Default Devices.

Where nodes may not be made (in a user namespace) or would not work (on a nodev mount), the host's
are bound instead: docs/decisions/0012-nodev-in-place-of-a-device-cgroup.md.
"""

from __future__ import annotations

from newroot.errors import SpecError
from newroot.plan import steps as s

#: name, major, minor: Documentation/admin-guide/devices.txt
DEFAULT_NODES = (
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
)

#: Every program expects these; /dev/ptmx leads to the container's own devpts.
DEFAULT_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
)


def default_device_steps(
    *, may_make_nodes: bool, taken: set[str], has_kcore: bool
) -> tuple[s.Step, ...]:
    """The steps for the nodes and links that every container has, but for the paths *taken*.

    /dev/core is among them where the kernel has something for it to lead to.
    """
    return (
        *(
            _default(name, major, minor, may_make_nodes)
            for name, major, minor in DEFAULT_NODES
            if f"/dev/{name}" not in taken
        ),
        *(
            s.MakeSymlink(target=f"/dev/{name}", to=to, if_missing=True, why="expected by programs")
            for name, to in DEFAULT_LINKS
            if has_kcore or name != "core"
        ),
    )


def _default(name: str, major: int, minor: int, may_make_nodes: bool) -> s.Step:
    why = "a device that every program may expect"
    if may_make_nodes:
        return s.MakeNode(
            target=f"/dev/{name}", kind="c", major=major, minor=minor, if_missing=True, why=why
        )
    return _bound(f"/dev/{name}", f"/dev/{name}", why)


def _bound(source: str, target: str, why: str) -> s.Step:
    """The host's own node.  On a read-only mount it is read and written as ever, for a device is
    not its file system's to protect; but its mode, owner and times, which are the host's, stay.
    """
    return s.BindMount(
        source=source, target=target, recursive=False, flags=("ro",), make_target=True, why=why
    )


def device_steps(
    device: dict[str, object], pointer: str, *, may_make_nodes: bool
) -> tuple[s.Step, ...]:
    """The steps for one entry of ``linux.devices``."""
    path, kind = device.get("path"), device.get("type")
    if not isinstance(path, str) or not path.startswith("/"):
        raise SpecError("expected an absolute path", pointer=f"{pointer}/path")
    if kind not in ("c", "b", "p", "u"):
        raise SpecError(f"not a kind of device: {kind!r}", pointer=f"{pointer}/type")
    needed = None if kind != "p" else 0
    major, minor = (_number(device, key, needed, pointer) for key in ("major", "minor"))
    why = "a device that was asked for"
    if not may_make_nodes:
        return (_bound(path, path, why),)
    parent = path.rsplit("/", 1)[0]
    made = () if parent in ("", "/dev") else (s.MakeDir(target=parent, make_target=True),)
    node = s.MakeNode(
        target=path,
        kind=str(kind),
        major=major,
        minor=minor,
        # Some callers leave what kind of file it is in it: stat(2), st_mode.
        mode=_number(device, "fileMode", 0o666, pointer) & 0o7777,
        uid=_number(device, "uid", 0, pointer),
        gid=_number(device, "gid", 0, pointer),
        if_missing=True,
        same_node=True,
        why=why,
    )
    return (*made, node)


def _number(device: dict[str, object], key: str, default: int | None, pointer: str) -> int:
    """A number of *device*; without a default it must be there."""
    value = device.get(key)
    if value is None and default is None:
        raise SpecError("missing", pointer=f"{pointer}/{key}")
    value = default if value is None else value
    if not isinstance(value, int) or value < 0:
        raise SpecError(f"expected a number, not {value!r}", pointer=f"{pointer}/{key}")
    return value
