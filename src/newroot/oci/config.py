"""A bundle's config.json, read and checked: runtime-spec, config.md.

Checked is the shape: what is a string, a list, a number.  What a value means is checked by who
uses it.  Properties that are not known are ignored, as the specification asks (Extensibility).
"""

from __future__ import annotations

from newroot.errors import NotFound, SpecError, SyscallError
from newroot.oci import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STRINGS = [str]
_NAMES = {"*": str}
_HOOKS = [{"path": str, "args": _STRINGS, "env": _STRINGS, "timeout": int}]
_MAPPING = [{"containerID": int, "hostID": int, "size": int}]

#: A type, a list of one shape, or an object of some properties; ``*`` is any other property.
SHAPE: dict[str, Any] = {
    "ociVersion": str,
    "hostname": str,
    "domainname": str,
    "annotations": _NAMES,
    "root": {"path": str, "readonly": bool},
    "mounts": [{"destination": str, "type": str, "source": str, "options": _STRINGS}],
    "process": {
        "terminal": bool,
        "cwd": str,
        "args": _STRINGS,
        "env": _STRINGS,
        "noNewPrivileges": bool,
        "oomScoreAdj": int,
        "user": {"uid": int, "gid": int, "umask": int, "additionalGids": [int]},
        "capabilities": {"*": _STRINGS},
        "rlimits": [{"type": str, "soft": int, "hard": int}],
        "consoleSize": {"height": int, "width": int},
        "apparmorProfile": str,
        "selinuxLabel": str,
        "scheduler": {
            "policy": str,
            "nice": int,
            "priority": int,
            "flags": _STRINGS,
            "runtime": int,
            "deadline": int,
            "period": int,
        },
        "ioPriority": {"class": str, "priority": int},
        "execCPUAffinity": {"initial": str, "final": str},
    },
    "hooks": {
        "prestart": _HOOKS,
        "createRuntime": _HOOKS,
        "createContainer": _HOOKS,
        "startContainer": _HOOKS,
        "poststart": _HOOKS,
        "poststop": _HOOKS,
    },
    "linux": {
        "namespaces": [{"type": str, "path": str}],
        "uidMappings": _MAPPING,
        "gidMappings": _MAPPING,
        "devices": [
            {
                "path": str,
                "type": str,
                "major": int,
                "minor": int,
                "fileMode": int,
                "uid": int,
                "gid": int,
            }
        ],
        "cgroupsPath": str,
        "resources": {},
        "sysctl": _NAMES,
        "seccomp": {},
        "maskedPaths": _STRINGS,
        "readonlyPaths": _STRINGS,
        "rootfsPropagation": str,
        "mountLabel": str,
        "timeOffsets": {"*": {"secs": int, "nanosecs": int}},
        "personality": {"domain": str, "flags": _STRINGS},
        "memoryPolicy": {"mode": str, "nodes": str, "flags": _STRINGS},
        "netDevices": {"*": {"name": str}},
        "intelRdt": {
            "closID": str,
            "l3CacheSchema": str,
            "memBwSchema": str,
            "schemata": _STRINGS,
            "enableMonitoring": bool,
        },
    },
}

#: What is accepted: a config of any 1.x can be read (config.md, Specification version).
OCI_VERSION_MIN, OCI_VERSION_MAX = "1.0.0", "1.3.0"

_WORDS = {str: "a string", int: "a number", bool: "true or false", dict: "an object"}


def read_config(path: str) -> dict[str, Any]:
    """Read and check the config at *path*.

    Raises NotFound, UsageError for what is no JSON, SpecError for a wrong value.
    """
    value = _read(path, "a bundle is a directory with a config.json: newroot-oci spec")
    _check(value, SHAPE, "")
    for key in ("ociVersion", "root", "process"):
        if value.get(key) is None:
            raise SpecError("missing", pointer=f"/{key}")
    _check_version(value["ociVersion"])
    if not value["root"].get("path"):
        raise SpecError("missing", pointer="/root/path")
    config: dict[str, Any] = value
    return config


def read_process(path: str) -> dict[str, Any]:
    """Read and check a process object by itself, as ``exec --process`` is given it."""
    process: dict[str, Any] = _read(path, "a file with the process of a config.json")
    _check(process, SHAPE["process"], "/process")
    return process


def _read(path: str, hint: str) -> Any:
    try:
        with open(path, "rb") as file:
            return json.loads(file.read(), what=path)
    except FileNotFoundError:
        raise NotFound(f"no {path}: no such file or directory", hint=hint) from None
    except OSError as error:
        raise SyscallError(
            f"read {path}: {error.strerror}", errno=error.errno or 0, call="open", target=path
        ) from error


def _check_version(version: str) -> None:
    """Whether it is in SemVer, and of the one major version that there is: config.md."""
    numbers = version.partition("+")[0].partition("-")[0].split(".")
    if len(numbers) != 3 or not all(number.isdecimal() for number in numbers):
        raise SpecError(f"{version!r} is no version of the form 1.2.3", pointer="/ociVersion")
    if numbers[0] != "1":
        raise SpecError(f"{version} is not a version 1 of the specification", pointer="/ociVersion")


def _check(value: object, shape: Any, pointer: str) -> None:
    if isinstance(shape, list):
        if not isinstance(value, list):
            raise SpecError("expected a list", pointer=pointer)
        for index, item in enumerate(value):
            _check(item, shape[0], f"{pointer}/{index}")
    elif isinstance(shape, dict):
        _check_object(value, shape, pointer)
    elif not isinstance(value, shape) or (shape is int and isinstance(value, bool)):
        raise SpecError(f"expected {_WORDS[shape]}", pointer=pointer)
    elif shape is str:
        _check_text(str(value), pointer)


def _check_text(value: str, pointer: str) -> None:
    """Whether the kernel can be told *value*: JSON can write what no encoding has."""
    if "\0" in value:
        raise SpecError("a NUL byte in a string", pointer=pointer)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise SpecError("half a surrogate pair in a string", pointer=pointer) from None


def _check_object(value: object, shape: dict[str, Any], pointer: str) -> None:
    if not isinstance(value, dict):
        raise SpecError(f"expected {_WORDS[dict]}", pointer=pointer)
    for key, member in value.items():
        wanted = shape.get(key, shape.get("*"))
        place = f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
        if wanted is str and "*" in shape:
            _check_text(key, place)
        elif member is None:
            continue  # as if it were not there, which is what Go makes of it
        if wanted is not None:
            _check(member, wanted, place)
