"""What is kept of a container that stays: an ordinary OCI bundle's config, and our record.

Written before the container starts, so that whatever is found later can be named.
"""

from __future__ import annotations

from newroot.container.config import DEFAULT_SECCOMP
from newroot.container.network_facts import network_names
from newroot.container.ports import in_words, published
from newroot.oci import json
from newroot.record import record as _record
from newroot.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.container.blueprint import Blueprint
    from newroot.container.mounts import Sourced
    from newroot.container.settings import Settings
    from newroot.container.source import Source
    from newroot.container.storage import Claim, ContainerStorage
    from newroot.isolation.cgroups.detect import CgroupHost
    from newroot.plan.steps import Exec

#: What other verbs write into a record, and a start leaves as it is.
_KEPT = ("snapshots",)
_LATEST = 253402300800.0  #: the year 10000, where Python's datetime ends


@_record
class Container:
    """A container that has files, running or not."""

    id: str
    name: str | None
    source: str  #: the image, or the directory
    command: tuple[str, ...]
    lower: tuple[str, ...] = ()  #: the layers that it stands on, topmost first
    created: float  #: seconds since the epoch
    started: float | None = None  #: the same, of its last start; None before the first
    finished: float | None = None  #: seconds since the epoch; None as with *exit_code*
    status: str  #: created, running, paused, restarting or exited
    pid: int | None = None  #: of its first process, as this host counts, while it runs
    exit_code: int | None  #: 128+n after signal n; None while it runs, or when nobody saw its end
    oom_killed: bool = False  #: the kernel killed a process of it for want of memory
    restarts: int = 0  #: how often it was begun anew since its last start
    labels: tuple[tuple[str, str], ...] = ()  #: its own, and those of its image
    image: str = ""  #: the digest of the image; empty for a directory
    mounts: tuple[tuple[str, str, str], ...] = ()  #: (type, volume or path, place in it)
    network: str = "none"
    ports: str = ""  #: as docker ps shows them, while it runs
    health: str | None = None  #: starting, healthy or unhealthy; None where nobody asks

    @property
    def is_up(self) -> bool:
        """Whether there is something of it that runs, or will."""
        return self.status in ("running", "paused", "restarting")


def write_config(
    storage: ContainerStorage,
    claim: Claim,
    blueprint: Blueprint,
    last: Exec,
    *,
    whole: bool = True,
) -> None:
    """Write config.json: an ordinary bundle's, unless *whole* is false, for exec alone."""
    text = json.dumps(blueprint.config).replace(blueprint.id, claim.id)
    config = json.loads(text.replace(blueprint.id[:12], claim.id[:12]))
    config["process"]["args"] = list(last.argv)
    if whole and DEFAULT_SECCOMP in (config.get("annotations") or {}):
        from newroot.isolation.seccomp_default import default_profile

        # Whoever else runs this bundle confines it by what stands in it.
        caps = config["process"]["capabilities"]["bounding"]
        config["linux"]["seccomp"] = default_profile(caps)
    storage.write(claim.id, "config.json", config)


def write_record(
    storage: ContainerStorage,
    claim: Claim,
    settings: Settings,
    source: Source,
    command: tuple[str, ...],
    sourced: Sourced,
    *,
    started: float | None,
) -> None:
    """Write record.json: what is known of the container, and all that a later start needs."""
    import os

    from newroot.container.kept_settings import settings_document, source_document

    os.makedirs(claim.directory, mode=0o711, exist_ok=True)
    named = replace(settings, mounts=sourced.named)
    _use_volumes(storage, claim.id, sourced)

    def written(before: dict[str, Any]) -> dict[str, Any]:
        kept = {key: before[key] for key in _KEPT if key in before}
        return {
            "id": claim.id,
            "name": before.get("name", settings.name),
            "source": source.name,
            "lower": list(source.lower),
            "rootfs": source.directory,
            "command": list(command),
            "created": before.get("created", claim.state.get("created")),
            "started": started,
            "volumes": [*before.get("volumes", ()), *sourced.anonymous],
            "labels": dict(settings.labels),
            "settings": settings_document(named),
            "from": source_document(source),
            **kept,
        }

    storage.change_record(claim.id, written)


def _use_volumes(storage: ContainerStorage, container_id: str, sourced: Sourced) -> None:
    """Count the container among the users of its volumes, which are held until it is done."""
    names = [str(mount.source) for mount in sourced.named if mount.type == "volume"]
    if not names:
        return
    from newroot.rootfs.volumes import VolumeStore

    volumes = VolumeStore(storage.root)
    for name in names:
        volumes.link(name, container_id)


def containers(storage: ContainerStorage) -> tuple[Container, ...]:
    """Every container, the newest first."""
    frozen = Frozen()
    held = frozenset(storage.running_ids())
    found = (
        container(storage, container_id, frozen, may_run=container_id in held)
        for container_id in {*storage.ids(), *held}
    )
    return tuple(sorted(filter(None, found), key=lambda c: c.created, reverse=True))


def container(
    storage: ContainerStorage,
    container_id: str,
    frozen: Frozen | None = None,
    *,
    may_run: bool = True,
) -> Container | None:
    """What is known of one container; None when it is gone, or was only half made.

    *may_run* is False where the caller has seen that nobody holds it.
    """
    state = storage.state(container_id) if may_run and storage.is_running(container_id) else {}
    # Without an owner somebody holds it for a moment, to change it: sweep.take().
    running = "owner" in state and "making" not in state
    state = _alive(state) if running else {}
    # One that is removed at its end has no record: then what is said of it while it runs counts.
    document: dict[str, Any] = {**state, **storage.record(container_id)}
    created = _number(document.get("created"), None)
    if created is None:
        created = _began(storage, container_id)
    if created is None:
        return None
    ended = {} if running else storage.exit(container_id)
    code, signal = (_integer(ended.get(key)) for key in ("exitCode", "signal"))
    started = _number(document.get("started"), None)
    was_run = running or started is not None or bool(ended)
    name, health = document.get("name"), state.get("health")
    settings, source = (_object(document.get(key)) for key in ("settings", "from"))
    return Container(
        id=container_id,
        name=name if isinstance(name, str) else None,
        source=str(document.get("source", "")),
        command=_strings(document.get("command")),
        lower=_strings(document.get("lower")),
        created=created,
        started=started,
        finished=_number(ended.get("finished"), None),
        status=_status_of(state, settings, frozen or Frozen())
        if running
        else "exited"
        if was_run
        else "created",
        pid=_integer(state.get("pid")),
        exit_code=code if code is not None or signal is None else 128 + signal,
        oom_killed=ended.get("oomKilled") is True,
        restarts=_integer((state if running else ended).get("restarts")) or 0,
        labels=_labels(_object(source.get("image")), document.get("labels")),
        image=_digest(source.get("key")),
        mounts=_mounts(settings),
        network=network_names(settings),
        ports=in_words(published(state)) if "ports" in state else "",
        health=health if isinstance(health, str) else None,
    )


def _status_of(state: dict[str, Any], settings: dict[str, Any], frozen: Frozen) -> str:
    """Of one that somebody holds: as the kernel has it now."""
    if state.get("pid") is None and settings.get("restart", "no") != "no" and state.get("began"):
        return "restarting"
    return "paused" if frozen.has(state.get("cgroup")) else "running"


def _alive(state: dict[str, Any]) -> dict[str, Any]:
    """*state* without a first process that has ended: its holder will say so, or begins it anew."""
    from newroot.linux.processes import process_status

    pid = _integer(state.get("pid"))
    if pid is None:
        return state
    status = process_status(pid)
    if status and status.start_ticks == state.get("startTicks") and status.state not in "ZX":
        return state
    return {**state, "pid": None, "began": True}


class Frozen:
    """Which cgroups are frozen; the host's hierarchies are looked for once."""

    def __init__(self) -> None:
        self._host: CgroupHost | None = None

    def has(self, path: object) -> bool:
        if not isinstance(path, str):
            return False
        from newroot.isolation.cgroups.cgroup import Cgroup
        from newroot.isolation.cgroups.detect import detect

        if self._host is None:
            self._host = detect()
        return Cgroup.find(path, host=self._host).is_frozen()


def _labels(image: dict[str, Any], own: object) -> tuple[tuple[str, str], ...]:
    """Docker's rule: the image's, and the container's over them."""
    inherited = image.get("Labels")
    if not inherited and not own:
        return ()
    merged = {**_object(inherited), **_object(own)}
    return tuple((str(name), str(value)) for name, value in merged.items())


def _digest(key: object) -> str:
    return key if isinstance(key, str) and key.startswith("sha256:") else ""


def _mounts(settings: dict[str, Any]) -> tuple[tuple[str, str, str], ...]:
    asked = settings.get("mounts")
    return tuple(
        (str(m.get("type")), str(m.get("source") or ""), str(m.get("target")))
        for m in (asked if isinstance(asked, list) else ())
        if isinstance(m, dict)
    )


# A record may be damaged, by a full disk or a crash of the host: then what can be read of it is
# shown, so that the container can be found and removed.


def _began(storage: ContainerStorage, container_id: str) -> float | None:
    """When the files of a container with a damaged record were made; None without a record."""
    import os

    try:
        return os.stat(f"{storage.directory(container_id)}/record.json").st_mtime
    except OSError:
        return None


def _number(value: object, otherwise: float | None) -> float | None:
    if isinstance(value, (int, float)) and 0 <= value < _LATEST:
        return float(value)
    return otherwise


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _strings(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()
