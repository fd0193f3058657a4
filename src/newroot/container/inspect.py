"""What is known of one container, in the names of ``docker container inspect``.

Its record, its config.json, its state and its end, put together.  What newroot has not (links,
devices of Windows) is not there; what it has and Docker has not (``Switch``, ``Upper``) is.
"""

from __future__ import annotations

from newroot.container import config as configs
from newroot.container.defaults import MASKED_PATHS, READONLY_PATHS
from newroot.container.network_facts import network_settings
from newroot.container.ports import bindings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from newroot.container.records import Container
    from newroot.container.settings import Mount, Settings
    from newroot.container.storage import ContainerStorage

    Document = dict[str, Any]

_NEVER = "0001-01-01T00:00:00Z"  #: Go's time.Time{}


def inspect(
    storage: ContainerStorage,
    found: Container,
    volume_path: Callable[[str], str],
    sizes: tuple[int, int] | None = None,
) -> Document:
    """The document of one container.

    *volume_path* says where a volume's files are; *sizes* are bytes in the upper and in the whole
    root.  Raises StateError when the record is damaged.
    """
    from newroot.container.kept_settings import read_settings

    record = storage.record(found.id)
    settings = read_settings(record.get("settings") or {})
    image = _object(_object(record.get("from")).get("image"))
    state = storage.state(found.id) if found.is_up else {}
    kept = storage.config(found.id)
    directory = storage.directory(found.id)
    path, *args = found.command or ("",)
    document = {
        "Id": found.id,
        "Created": at(found.created),
        "Path": path,
        "Args": args,
        "State": _state(found, state, storage.exit(found.id)),
        "Image": found.image or found.source,
        "ResolvConfPath": "",
        "HostnamePath": "",
        "HostsPath": "",
        "LogPath": "" if settings.log_driver == "none" else f"{directory}/log",
        "Name": f"/{found.name or ''}",
        "RestartCount": found.restarts,
        "Driver": "overlay",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": None,
        "HostConfig": _host_config(settings),
        "GraphDriver": _graph_driver(found, record, directory),
        "Mounts": [_mount(mount, volume_path) for mount in settings.mounts],
        "Config": _config(found, settings, image, kept),
        "NetworkSettings": _network(settings, state),
        "BundlePath": directory,
    }
    if sizes is not None:
        document["SizeRw"], document["SizeRootFs"] = sizes
    return document


def at(seconds: float | None) -> str:
    """RFC 3339 with nanoseconds, UTC; Go's zero time for None."""
    from time import gmtime, strftime

    if seconds is None:
        return _NEVER
    whole = int(seconds)
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(whole)) + f".{round((seconds - whole) * 1e9):09d}Z"


def _object(value: object) -> Document:
    return value if isinstance(value, dict) else {}


def _state(found: Container, state: Document, ended: Document) -> Document:
    up = found.is_up
    return {
        "Status": found.status,
        "Running": up,
        "Paused": found.status == "paused",
        "Restarting": found.status == "restarting",
        "OOMKilled": found.oom_killed,
        "Dead": False,
        "Pid": found.pid or 0 if found.status != "restarting" else 0,
        "ExitCode": 0 if up or found.exit_code is None else found.exit_code,
        "Error": str(ended.get("error") or ""),
        "StartedAt": at(found.started),
        "FinishedAt": at(found.finished),
        **({"Health": state["healthLog"]} if "healthLog" in state else {}),
        "CgroupPath": str(state.get("cgroup") or ""),
    }


def _host_config(settings: Settings) -> Document:
    quota = settings.cpus
    return {
        "Binds": [_bind(m) for m in settings.mounts if m.type in ("bind", "volume") and m.source]
        or None,
        "ContainerIDFile": "",
        "LogConfig": {
            "Type": settings.log_driver,
            "Config": {"max-size": str(settings.log_bytes), "max-file": str(settings.log_files)},
        },
        "NetworkMode": settings.network,
        "PortBindings": {},
        "RestartPolicy": {
            "Name": settings.restart,
            "MaximumRetryCount": settings.restart_most,
        },
        "AutoRemove": settings.remove,
        "VolumesFrom": None,
        "CapAdd": list(settings.cap_add) or None,
        "CapDrop": list(settings.cap_drop) or None,
        "CgroupnsMode": settings.cgroupns,
        "IpcMode": settings.ipc,
        "PidMode": settings.pid if settings.pid == "host" else "",
        "UTSMode": settings.uts if settings.uts == "host" else "",
        "UsernsMode": settings.userns if settings.userns != "host" else "",
        "Privileged": settings.privileged,
        "PublishAllPorts": False,
        "ReadonlyRootfs": settings.readonly_root,
        "SecurityOpt": _security(settings) or None,
        "Tmpfs": {m.target: ",".join(m.options) for m in settings.mounts if m.type == "tmpfs"},
        "Init": settings.init,
        "Runtime": "newroot",
        "Memory": settings.memory_bytes or 0,
        "MemorySwap": 2 * (settings.memory_bytes or 0),
        "NanoCpus": 0 if quota is None else round(quota * 1e9),
        "CpusetCpus": settings.cpuset_cpus or "",
        "PidsLimit": settings.pids_limit,
        "Ulimits": [
            {"Name": name, "Soft": soft, "Hard": hard} for name, soft, hard in settings.ulimits
        ],
        "Sysctls": dict(settings.sysctls),
        "Devices": [
            {
                "PathOnHost": device.host_path,
                "PathInContainer": device.container_path,
                "CgroupPermissions": device.permissions,
            }
            for device in settings.devices
        ],
        "MaskedPaths": _protected(settings, MASKED_PATHS),
        "ReadonlyPaths": _protected(settings, READONLY_PATHS),
        "Switch": settings.switch,
        "Upper": settings.upper,
    }


def _protected(settings: Settings, paths: tuple[str, ...]) -> list[str]:
    if settings.privileged or "ALL" in settings.unmasked:
        return []
    return [path for path in paths if path not in settings.unmasked]


def _security(settings: Settings) -> list[str]:
    options = [f"seccomp={settings.seccomp}"] if settings.seccomp is not None else []
    return [*options, *(["no-new-privileges"] if settings.no_new_privileges else [])]


def _bind(mount: Mount) -> str:
    words = ["ro"] if mount.readonly else []
    words += [mount.propagation] if mount.propagation else []
    return ":".join([str(mount.source), mount.target, *([",".join(words)] if words else [])])


def _graph_driver(found: Container, record: Document, directory: str) -> Document:
    if not found.lower:
        return {"Name": "directory", "Data": {"RootDir": str(record.get("rootfs") or "")}}
    return {
        "Name": "overlay",
        "Data": {
            "LowerDir": ":".join(found.lower),
            "UpperDir": f"{directory}/upper",
            "WorkDir": f"{directory}/work",
            "MergedDir": "",  # it is mounted in the container alone
        },
    }


def _mount(mount: Mount, volume_path: Callable[[str], str]) -> Document:
    named = {"Name": str(mount.source), "Driver": "local"} if mount.type == "volume" else {}
    source = volume_path(str(mount.source)) if named and mount.source else mount.source or ""
    return {
        "Type": mount.type,
        **named,
        "Source": source,
        "Destination": mount.target,
        "Mode": ",".join(mount.options),
        "RW": not mount.readonly,
        "Propagation": mount.propagation or ("rprivate" if mount.type == "bind" else ""),
    }


def _config(found: Container, settings: Settings, image: Document, kept: Document) -> Document:
    process = _object(kept.get("process"))
    hostname = settings.hostname or (found.id[:12] if settings.uts == "private" else "")
    env = process.get("env") or configs.environment(settings, image, "", hostname)
    entrypoint = settings.entrypoint
    if entrypoint is None:
        entrypoint = tuple(image.get("Entrypoint") or ())
    volumes: Document = {m.target: {} for m in settings.mounts if m.type == "volume"}
    return {
        "Hostname": hostname,
        "Domainname": "",
        "User": settings.user if settings.user is not None else image.get("User") or "",
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "Tty": settings.terminal,
        "OpenStdin": settings.interactive,
        "StdinOnce": False,
        "Env": list(env),
        "Cmd": list(found.command[len(entrypoint) :]) or None,
        "Image": found.source,
        "Volumes": volumes or None,
        "WorkingDir": settings.cwd or image.get("WorkingDir") or "/",
        "Entrypoint": list(entrypoint) or None,
        "OnBuild": None,
        "Labels": dict(found.labels),
        "Annotations": dict(settings.annotations),
        "StopSignal": settings.stop_signal or image.get("StopSignal") or "SIGTERM",
        "StopTimeout": settings.stop_timeout,
        **({"Healthcheck": image["Healthcheck"]} if image.get("Healthcheck") else {}),
    }


def _network(settings: Settings, state: Document) -> Document:
    return {
        "Bridge": "",
        "SandboxID": "",
        "SandboxKey": f"/proc/{state['pid']}/ns/net" if state.get("pid") else "",
        **network_settings(_object(state.get("network")), bindings(state), settings.network),
    }
