"""The table of bundles: each is the base, changed in one property.

A ``Case`` may be run by any runtime; ``peer`` is the one whose answer it is compared with.  Where
none of Debian's knows the property yet (runtime-spec 1.1 and later), ``peer`` is None, and
``expect`` says what the specification asks for.  ``expect`` may stand beside a peer too: then both
must say so, and two containers in which nothing has happened are not taken for equals.

In a config ``@BUNDLE@`` is the bundle's directory and ``@PID@`` the test's process.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Config = dict[str, Any]
Change = Callable[[Config], object]

REFUSED = {"outcome": "refused"}

BASE: Config = {
    "ociVersion": "1.0.2",
    "process": {
        "user": {"uid": 0, "gid": 0},
        "args": ["/view"],
        "env": ["PATH=/bin:/", "HOME=/root"],
        "cwd": "/",
        "capabilities": {
            name: ["CAP_KILL", "CAP_CHOWN", "CAP_MKNOD"]
            for name in ("bounding", "effective", "permitted")
        },
        "noNewPrivileges": True,
    },
    "root": {"path": "rootfs", "readonly": False},
    "hostname": "peers",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        {
            "destination": "/sys",
            "type": "sysfs",
            "source": "sysfs",
            "options": ["nosuid", "noexec", "nodev", "ro"],
        },
    ],
    "linux": {
        "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
        "cgroupsPath": "/newroot-test-@PID@/case",
    },
}


@dataclass(frozen=True)
class Case:
    """One bundle: what is changed in the base, and who is asked beside us."""

    name: str
    changes: tuple[Change, ...]
    probes: tuple[str, ...] = ()
    peer: str | None = "runc"
    expect: Mapping[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()  #: a refusal says these: newroot's own
    table: str = ""  #: the file that has it

    def config(self) -> Config:
        """The whole config.json."""
        config = copy.deepcopy(BASE)
        for change in self.changes:
            change(config)
        if self.probes:
            config["process"]["args"] = [*config["process"]["args"], *self.probes]
        return config


#: Every case by name, in the order of the files that fill it.
CASES: dict[str, Case] = {}


def case(
    name: str,
    *changes: Change,
    probes: str = "",
    peer: str | None = "runc",
    expect: Mapping[str, str] | None = None,
    refused: str | None = None,
) -> None:
    """Add a case.  *probes* are words for ``view.c``; *refused*: what our refusal must say."""
    assert name not in CASES, name
    CASES[name] = Case(
        name=name,
        changes=changes,
        probes=tuple(probes.split()),
        peer=peer,
        expect={**(expect or {}), **(REFUSED if refused is not None else {})},
        words=(refused,) if refused else (),
        table=sys._getframe(1).f_globals["__name__"].rpartition("cases_")[2],
    )


# ── changes ──────────────────────────────────────────────────────────────────────────────────


def at(path: str, value: Any) -> Change:
    """Put *value* at *path*, dotted: ``linux.sysctl``; a number is a place in a list."""

    def change(config: Config) -> None:
        *way, last = path.split(".")
        here: Any = config
        for word in way:
            here = here[int(word)] if isinstance(here, list) else here.setdefault(word, {})
        if isinstance(here, list):
            here[int(last)] = value
        else:
            here[last] = value

    return change


def without(path: str) -> Change:
    """Take away what is at *path*."""

    def change(config: Config) -> None:
        *way, last = path.split(".")
        here: Any = config
        for word in way:
            here = here[int(word)] if isinstance(here, list) else here[word]
        del here[int(last) if isinstance(here, list) else last]

    return change


def process(**members: Any) -> Change:
    """Set members of the process."""
    return lambda config: config["process"].update(members)


def linux(**members: Any) -> Change:
    """Set members of linux."""
    return lambda config: config["linux"].update(members)


def mount(
    destination: str, kind: str | None, source: str | None, options: str = "", **more: Any
) -> Change:
    """One more mount."""
    entry: Config = {"destination": destination, **more}
    if kind is not None:
        entry["type"] = kind
    if source is not None:
        entry["source"] = source
    if options:
        entry["options"] = options.split(",")
    return lambda config: config["mounts"].append(entry)


def unmount(destination: str) -> Change:
    """Without one of the base's mounts."""

    def change(config: Config) -> None:
        config["mounts"] = [m for m in config["mounts"] if m["destination"] != destination]

    return change


def namespace(kind: str, path: str | None = None) -> Change:
    """One more namespace, or the base's by *path*."""

    def change(config: Config) -> None:
        spaces = [s for s in config["linux"]["namespaces"] if s["type"] != kind]
        spaces.append({"type": kind} if path is None else {"type": kind, "path": path})
        config["linux"]["namespaces"] = spaces

    return change


def no_namespace(kind: str) -> Change:
    """Without one of the base's namespaces."""

    def change(config: Config) -> None:
        spaces = config["linux"]["namespaces"]
        config["linux"]["namespaces"] = [s for s in spaces if s["type"] != kind]

    return change


def user_namespace(host: int = 100_000) -> Change:
    """A new user namespace, in which root is *host*."""

    def change(config: Config) -> None:
        config["linux"]["namespaces"].append({"type": "user"})
        for kind in ("uidMappings", "gidMappings"):
            config["linux"][kind] = [{"containerID": 0, "hostID": host, "size": 65536}]

    return change
