"""Settings and an image's configuration become an OCI config: runtime-spec, config.md.

Whatever has to be looked up first (users, volumes, host devices) comes in as arguments.
The precedence is Docker's: the image's words, then the user's on top.
"""

from __future__ import annotations

import os

from newroot.container import defaults
from newroot.errors import UsageError
from newroot.linux import capabilities
from newroot.rootfs.mount_steps import THROWAWAY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.container.devices import Found
    from newroot.container.settings import Mount, Settings
    from newroot.isolation.users import User

#: The annotation that says that linux.seccomp is our default profile, which need not be compiled.
DEFAULT_SECCOMP = "io.newroot.seccomp.default"
#: The annotation that says that its calls for other ids do nothing: isolation/fake_ids.py.
FAKE_IDS = "io.newroot.fake-ids"
OCI_VERSION = "1.3.0"
DEFAULT_STOP_SIGNAL = "SIGTERM"

_UNLIMITED = 2**64 - 1  # RLIM_INFINITY; a user says -1

#: cpu.cfs_quota_us is counted against this period: sched-bwc.rst.
CPU_PERIOD_US = 100_000


def make_config(
    settings: Settings,
    image: dict[str, Any],
    *,
    args: list[str],
    user: User,
    hostname: str,
    mounts: list[dict[str, Any]],
    devices: Found,
    rootless: bool = False,
    inner: bool = False,
    bound: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """The OCI config of a container.

    *args* are ``arguments()``.  *image* is the ``config`` object of an OCI image, empty for a
    plain directory.  *mounts* are those asked for, with their sources found; *devices* the
    host's, looked at; *inner*: the caller is in a user namespace; *bound* are the places of
    borrowed.py.  *rootless* leaves out what takes more than one id.

    Raises UsageError for an unknown capability.
    """
    caps = list(
        capabilities.apply(
            add=settings.cap_add, drop=settings.cap_drop, privileged=settings.privileged
        )
    )
    if settings.privileged or capabilities.ALL in settings.cap_add:
        may = frozenset(capabilities.held())  # all of them is all that there are to give
        caps = [cap for cap in caps if cap in may]
    return {
        "ociVersion": OCI_VERSION,
        "process": _process(settings, image, args, user, hostname, caps),
        "root": {"path": "rootfs", "readonly": settings.readonly_root},
        **({"hostname": hostname} if settings.uts == "private" else {}),
        "mounts": _mounts(settings, mounts + list(devices.mounts), rootless, bound),
        "linux": _linux(settings, devices, inner=inner),
        "annotations": dict(settings.annotations),
    }


def arguments(
    settings: Settings, image: dict[str, Any], command: tuple[str, ...] | None = None
) -> list[str]:
    """The command line; an entrypoint of the user's own leaves the image's command out.

    *command* stands in for *settings*' own.  Raises UsageError when there is nothing to run.
    """
    words = settings.command if command is None else command
    if settings.entrypoint is not None:
        args = [*settings.entrypoint, *words]
    else:
        args = [*(image.get("Entrypoint") or ()), *(words or image.get("Cmd") or ())]
    if not args or not args[0]:
        raise UsageError(
            "no command to run: the image names none",
            hint="say one after the image, for example: sh",
        )
    return args


def environment(settings: Settings, image: dict[str, Any], home: str, hostname: str) -> list[str]:
    """``NAME=value`` each, in Docker's order; the last one of a name wins."""
    found = {"PATH": defaults.PATH, "HOSTNAME": hostname}
    if settings.terminal:
        found["TERM"] = "xterm"
    for word in image.get("Env") or ():
        name, _, value = word.partition("=")
        found[name] = value
    found.update(settings.env)
    for name in settings.env_unset:
        found.pop(name, None)
    if not found.get("HOME") and "HOME" not in settings.env_unset:
        found["HOME"] = home
    return [f"{name}={value}" for name, value in found.items()]


def _process(
    settings: Settings,
    image: dict[str, Any],
    args: list[str],
    user: User,
    hostname: str,
    caps: list[str],
) -> dict[str, Any]:
    # A user other than root gets none but in the bounding set, as a setuid program needs it.
    held = caps if user.uid == 0 else []
    return {
        "terminal": settings.terminal,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)},
        "args": args,
        "env": environment(settings, image, user.home, hostname),
        "cwd": settings.cwd or image.get("WorkingDir") or "/",
        "capabilities": {"bounding": caps, "effective": held, "permitted": held},
        "noNewPrivileges": settings.no_new_privileges,
        "rlimits": [
            {"type": f"RLIMIT_{name.upper()}", "soft": soft & _UNLIMITED, "hard": hard & _UNLIMITED}
            for name, soft, hard in settings.ulimits
        ],
    }


_UNPRIVILEGED_PORTS = {"net.ipv4.ip_unprivileged_port_start": "0"}

_NAMESPACES = (
    ("pid", "pid"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("cgroup", "cgroupns"),
)


def _namespaces(settings: Settings) -> list[dict[str, str]]:
    kinds = [kind for kind, field in _NAMESPACES if getattr(settings, field) == "private"]
    if settings.userns != "host":
        kinds.append("user")
    network = ["network"] if settings.network != "host" else []
    return [{"type": kind} for kind in ("mount", *kinds, *network)]


def _linux(settings: Settings, devices: Found, *, inner: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "namespaces": _namespaces(settings),
        "resources": resources(settings, devices),
        "devices": list(devices.nodes),
        "sysctl": _sysctls(settings, inner=inner),
        "maskedPaths": _protected(settings, defaults.MASKED_PATHS) + list(settings.masked),
        "readonlyPaths": _protected(settings, defaults.READONLY_PATHS),
    }
    return {key: value for key, value in found.items() if value or key == "namespaces"}


def _sysctls(settings: Settings, *, inner: bool) -> dict[str, str]:
    """Docker's for a network of its own: daemon/oci_linux.go, WithSysctls."""
    asked = dict(settings.sysctls)
    if settings.network in ("none", "host") or settings.network.startswith("container:"):
        return asked  # nothing to bind to, or somebody else's
    if inner or settings.userns != "host":  # the range would have to be mapped
        return {**_UNPRIVILEGED_PORTS, **asked}
    return {**_UNPRIVILEGED_PORTS, "net.ipv4.ping_group_range": "0 2147483647", **asked}


def _protected(settings: Settings, paths: tuple[str, ...]) -> list[str]:
    if settings.privileged or "ALL" in settings.unmasked:
        return []
    return [path for path in paths if path not in settings.unmasked]


def resources(settings: Settings, devices: Found) -> dict[str, Any]:
    """``linux.resources``: only what was asked for."""
    found: dict[str, Any] = {"devices": list(devices.rules)} if devices.rules else {}
    if settings.memory_bytes is not None:
        # Docker's default: as much swap again as memory.
        found["memory"] = {"limit": settings.memory_bytes, "swap": 2 * settings.memory_bytes}
    cpu: dict[str, Any] = {}
    if settings.cpus is not None:
        cpu = {"quota": round(settings.cpus * CPU_PERIOD_US), "period": CPU_PERIOD_US}
    if settings.cpuset_cpus is not None:
        cpu["cpus"] = settings.cpuset_cpus
    if cpu:
        found["cpu"] = cpu
    if settings.pids_limit is not None:
        found["pids"] = {"limit": settings.pids_limit}
    return found


def _mounts(
    settings: Settings, asked: list[dict[str, Any]], rootless: bool, bound: frozenset[str]
) -> list[dict[str, Any]]:
    """The default mounts, without those whose place is taken, then those asked for, outer first."""
    taken = {str(mount["destination"]) for mount in asked}
    usual = defaults.mounts(
        privileged=settings.privileged,
        ipc_is_host=settings.ipc == "host",
        gid_5_is_mapped=not rootless,
    )
    kept = [mount for mount in usual if mount["destination"] not in taken]
    if "/dev" in taken:  # it would hide what is below it: moby's oci_linux.go, withMounts
        kept = [mount for mount in kept if not str(mount["destination"]).startswith("/dev/")]
    if bound:
        kept = _borrowing(kept, bound, privileged=settings.privileged)
    return kept + sorted(asked, key=lambda mount: mount["destination"].count("/"))


def _borrowing(
    mounts: list[dict[str, Any]], bound: frozenset[str], *, privileged: bool
) -> list[dict[str, Any]]:
    """The same, with those at the places *bound* as they are where we are."""
    from newroot.container.borrowed import bind

    found = []
    for mount in mounts:
        place = str(mount["destination"])
        readonly = place.startswith("/sys") and not privileged
        taken = bind(place, readonly=readonly) if place in bound else mount
        if taken is not None:
            found.append(taken)
    return found


def oci_mount(mount: Mount, source: str | None, *, nodev: bool) -> dict[str, Any]:
    """One mount that was asked for, with its *source* found, as OCI says it.

    With *nodev* no device node on it works, whoever made it.
    """
    options = list(mount.options)
    if nodev:
        options.append("rnodev" if mount.type in ("bind", "volume") else "nodev")
    if mount.readonly:
        options.append("rro" if mount.recursive_readonly else "ro")
    if mount.type in ("bind", "volume"):
        options.insert(0, "rbind" if mount.recursive else "bind")
        options.append(mount.propagation or "rprivate")
    elif mount.propagation:
        options.append(mount.propagation)
    if mount.type == "overlay":
        options = _overlay_options(str(source), options)
    return {
        "destination": os.path.normpath(mount.target),
        "type": "bind" if mount.type == "volume" else mount.type,
        "source": source or mount.type,
        "options": options,
    }


def _overlay_options(top: str, options: list[str]) -> list[str]:
    """One lowerdir for all, as mount(8) has it; what is written is forgotten without an upper."""
    lower = [top, *(o.partition("=")[2] for o in options if o.startswith("lowerdir="))]
    escaped = (path.replace("\\", "\\\\").replace(":", "\\:") for path in lower)
    others = [o for o in options if not o.startswith("lowerdir=")]
    if not any(o.startswith("upperdir=") for o in options):
        others.append(THROWAWAY)
    return ["lowerdir=" + ":".join(escaped), *others]
