"""What a container may do beyond the ordinary, as Docker writes it: sysctls, devices,
--security-opt.  (Capabilities: newroot.linux.capabilities.)

Pure.  A device's numbers and a profile's content are looked up later.
"""

from __future__ import annotations

from newroot.container.settings import Device
from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

#: The sysctls that belong to a namespace a container may own: runc, libcontainer/configs/validate.
#: (``kernel.hostname`` is left out: it is --hostname.)
_IPC_SYSCTLS = frozenset(
    (
        *("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall"),
        *("kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced"),
    )
)


def parse_sysctl(text: str) -> tuple[str, str]:
    """Read ``NAME=VALUE`` of a sysctl that has a namespace of its own."""
    name, has_value, value = text.partition("=")
    dotted = name if "." in name.split("/")[0] else name.replace("/", ".", 1)
    parts = name.replace("/", ".").split(".")
    if not has_value or "\0" in value or not all(parts) or not name.isascii():
        raise UsageError(f"invalid sysctl {text!r}", hint="NAME=VALUE, as net.ipv4.ip_forward=1")
    allowed = dotted in _IPC_SYSCTLS or dotted == "kernel.domainname"
    if not allowed and not dotted.startswith(("net.", "fs.mqueue.", "fs.mqueue/")):
        raise UsageError(
            f"sysctl {name} is not allowed",
            hint="a container owns net.*, fs.mqueue.* and the kernel.* of its IPC namespace",
        )
    return dotted, value


def parse_device(text: str) -> Device:
    """Read ``HOST[:CONTAINER][:PERMISSIONS]``."""
    parts = text.split(":")
    permissions = "rwm"
    if len(parts) > 1 and (len(parts) == 3 or _is_permissions(parts[-1])):
        permissions = parts.pop()
    if len(parts) > 2 or not _is_permissions(permissions):
        raise UsageError(f"invalid device {text!r}", hint="HOST[:CONTAINER][:rwm]")
    for path in parts:
        if not path.startswith("/") or "\0" in path:
            raise UsageError(f"invalid device {text!r}: {path!r} is not an absolute path")
    from newroot.container.mount_options import normalise

    host = normalise(parts[0])
    return Device(
        host_path=host,
        container_path=normalise(parts[1]) if len(parts) == 2 else host,
        permissions=permissions,
    )


def _is_permissions(text: str) -> bool:
    return 0 < len(text) == len(set(text)) and set(text) <= set("rwm")


def parse_security_options(options: Iterable[str]) -> dict[str, object]:
    """The fields of ``Settings`` that a list of ``--security-opt`` sets."""
    fields: dict[str, object] = {}
    masked: list[str] = []
    unmasked: list[str] = []
    for option in options:
        key, value = _split_option(option)
        if key == "seccomp":
            fields["seccomp"] = None if value in ("builtin", "default") else value
        elif key == "no-new-privileges":
            fields["no_new_privileges"] = value != "false"
        elif key == "mask":
            masked += _paths(value, option)
        elif key == "unmask":
            unmasked += ["ALL"] if value.upper() == "ALL" else _paths(value, option)
        elif key == "systempaths":
            unmasked.append("ALL")
    if masked:
        fields["masked"] = tuple(dict.fromkeys(masked))
    if unmasked:
        fields["unmasked"] = ("ALL",) if "ALL" in unmasked else tuple(dict.fromkeys(unmasked))
    return fields


#: key -> the values it may have; None: any but none
_SECURITY_OPTIONS: dict[str, tuple[str, ...] | None] = {
    "seccomp": None,
    "no-new-privileges": ("", "true", "false"),
    "mask": None,
    "unmask": None,
    "systempaths": ("unconfined",),
    # Nothing is labelled and no profile is loaded, so these two ask for what is so already.
    "apparmor": ("unconfined",),
    "label": ("disable",),
}


def _split_option(option: str) -> tuple[str, str]:
    # Docker still takes KEY:VALUE, its form from before 1.11.
    key, divider, value = option.partition("=" if "=" in option else ":")
    if key not in _SECURITY_OPTIONS:
        raise UsageError(
            f"unknown security option {option!r}", hint=f"one of {', '.join(_SECURITY_OPTIONS)}"
        )
    allowed = _SECURITY_OPTIONS[key]
    if (allowed is None and not value) or (divider and not value):
        raise UsageError(f"security option {option!r} needs a value")
    if allowed is not None and value not in allowed:
        raise UsageError(
            f"security option {option!r} is not supported",
            hint=f"{key} may be {' or '.join(word for word in allowed if word)}",
        )
    return key, value


def _paths(value: str, option: str) -> list[str]:
    # podman divides them by colons.
    paths = value.split(":")
    if not all(path.startswith("/") and "\0" not in path for path in paths):
        raise UsageError(f"security option {option!r} needs absolute paths, divided by colons")
    return paths
