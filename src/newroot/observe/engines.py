"""Which container a process belongs to, and which engine made it, as far as there are traces.

Two kinds of trace are robust: the cgroup that Docker, podman, containerd, CRI-O, LXC and nspawn
name after the container, and the state that an OCI runtime keeps while it runs, with the first
process's id and when that began.  A container that left neither is nobody's that we know.
"""

from __future__ import annotations

import os
import re

from newroot.linux.processes import start_ticks
from newroot.observe.process import read_file
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any


@record
class EngineContainer:
    """A container of whatever engine."""

    engine: str  #: ``newroot``, ``podman``, ``docker``, ``runc``, …
    id: str
    name: str | None = None

    @property
    def label(self) -> str:
        """What a person calls it: its name, or the beginning of its id."""
        return self.name or (self.id[:12] if re.fullmatch("[0-9a-f]{64}", self.id) else self.id)


_ID = "(?P<id>[0-9a-f]{64})"
#: Of the last parts of a cgroup's path.  The order matters: the first that fits is it.
_CGROUPS = tuple(
    (engine, re.compile(pattern))
    for engine, pattern in (
        ("podman", rf"/libpod-{_ID}(?:\.scope)?(?:/|$)"),
        ("podman", rf"/libpod_parent/libpod-{_ID}(?:/|$)"),
        ("docker", rf"/docker/{_ID}(?:/|$)"),
        ("docker", rf"/docker-{_ID}\.scope(?:/|$)"),
        ("cri-o", rf"/crio-{_ID}(?:\.scope)?(?:/|$)"),
        ("containerd", rf"/cri-containerd-{_ID}\.scope(?:/|$)"),
        ("kubernetes", rf"/kubepods[^/]*/(?:[^/]+/)*{_ID}(?:/|$)"),
        ("newroot", rf"/newroot-{_ID}(?:\.scope)?(?:/|$)"),
        ("lxc", r"/lxc\.payload\.(?P<id>[^/]+)(?:/|$)"),
        ("lxc", r"/lxc/(?P<id>[^/]+)(?:/|$)"),
        (
            "nspawn",
            r"/machine\.slice/(?:systemd-nspawn@|machine-)(?P<id>[^/]+?)\.(?:service|scope)",
        ),
    )
)

_RUNC = ("state.json", "init_process_pid", "init_process_start")
_CRUN = ("status", "pid", "process-start-time")
_NEWROOT = ("state.json", "pid", "startTicks")
#: (engine, directory with one directory a container, (the file in it, pid's key, start's key))
_STATES = (
    ("runc", "/run/runc", _RUNC),
    ("crun", "/run/crun", _CRUN),
    ("newroot", "/run/newroot-oci", _NEWROOT),
    ("docker", "/run/docker/runtime-runc/moby", _RUNC),
    ("containerd", "/run/containerd/runc/*", _RUNC),
)


def container_of_cgroups(lines: str) -> EngineContainer | None:
    """The container that the text of a /proc/PID/cgroup names."""
    for line in lines.split("\n"):
        path = line.split(":", 2)[-1]
        if len(path) < 5:
            continue
        for engine, pattern in _CGROUPS:
            found = pattern.search(path)
            if found is not None:
                return EngineContainer(engine=engine, id=found["id"])
    return None


class Containers:
    """Asks of one process after another, and reads the state directories once.

    *known* is what the caller can name better: first processes, as this host counts.
    *states* are state directories of runc's form beside the usual ones: ``runc --root``'s.
    """

    def __init__(
        self, known: Mapping[int, EngineContainer] | None = None, states: tuple[str, ...] = ()
    ) -> None:
        self._known = dict(known or {})
        self._states = runtime_states(states)
        self._names: dict[str, str] | None = None
        self._seen: dict[int, EngineContainer | None] = {}

    def of(self, pid: int) -> EngineContainer | None:
        """The container that *pid* is in, or None when nothing says that it is in one."""
        if pid not in self._seen:
            # Engines run their containers by runc, whose state would name runc.
            found = self._known.get(pid) or self._by_cgroup(pid) or self._states.get(pid)
            self._seen[pid] = found
        return self._seen[pid]

    def _by_cgroup(self, pid: int) -> EngineContainer | None:
        text = read_file(f"/proc/{pid}/cgroup", once=True)
        found = container_of_cgroups(os.fsdecode(text)) if text else None
        if found is None:
            return None
        if self._names is None:
            self._names = _podman_names()
        name = self._names.get(found.id) or _docker_name(found)
        return EngineContainer(engine=found.engine, id=found.id, name=name)


def runtime_states(more: tuple[str, ...] = ()) -> dict[int, EngineContainer]:
    """The first processes of the containers that OCI runtimes keep state of here."""
    places = [*_STATES, *_user_states(), *(("runc", path, _RUNC) for path in more)]
    return {
        pid: EngineContainer(engine=engine, id=name)
        for engine, directory, keys in places
        for name, pid in _living(directory, *keys)
    }


def _user_states() -> Iterator[tuple[str, str, tuple[str, str, str]]]:
    directory = os.environ.get("XDG_RUNTIME_DIR", "")
    if directory.startswith("/"):
        yield "runc", f"{directory}/runc", _RUNC
        yield "crun", f"{directory}/crun", _CRUN
        yield "newroot", f"{directory}/newroot-oci", _NEWROOT


def _living(directory: str, file: str, pid_key: str, start_key: str) -> Iterator[tuple[str, int]]:
    import glob

    for place in glob.glob(directory):
        try:
            names = os.listdir(place)
        except OSError:
            continue  # not there, or not ours to read
        for name in names:
            state = _json(f"{place}/{name}/{file}")
            pid, start = state.get(pid_key), state.get(start_key)
            if isinstance(pid, int) and pid > 0 and start_ticks(pid) == start:
                yield str(state.get("id") or name), pid


def _podman_names() -> dict[str, str]:
    """What podman calls its containers, by id: containers/storage keeps the names."""
    entries = _json("/var/lib/containers/storage/overlay-containers/containers.json")
    named = (entry for entry in entries if isinstance(entry, dict) and entry.get("names"))
    return {str(entry.get("id")): str(entry["names"][0]) for entry in named}


def _docker_name(found: EngineContainer) -> str | None:
    if found.engine != "docker":
        return None
    config = _json(f"/var/lib/docker/containers/{found.id}/config.v2.json")
    name = config.get("Name")
    return name.lstrip("/") if isinstance(name, str) else None


def _json(path: str) -> Any:
    import json

    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict | list) else {}
