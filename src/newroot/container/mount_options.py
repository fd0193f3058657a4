r"""Docker's three ways to ask for a mount, read into ``Mount``: -v, --mount, --tmpfs.

Pure but for one thing: a bind source that begins with ``./`` or ``../`` is taken from *cwd*.
Nothing here asks whether a path or a volume exists.  The grammar is that of the docker command
line (opts/mount.go, volume/mounts/linux_parser.go), with two additions: ``\:`` and ``\\`` stand for
a colon and a backslash in a path of -v, and there is the type ``overlay``.
"""

from __future__ import annotations

import os

from newroot.container.settings import Mount
from newroot.errors import UsageError
from newroot.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PROPAGATIONS = frozenset(
    ("private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable")
)

#: Each pair: a mount flag and its opposite.  Of two that meet, the later one stays.
_OPPOSITES = (
    ("ro", "rw"),
    ("nosuid", "suid"),
    ("nodev", "dev"),
    ("noexec", "exec"),
    ("noatime", "atime"),
    ("nodiratime", "diratime"),
    ("relatime", "norelatime"),
    ("strictatime", "nostrictatime"),
    ("nosymfollow", "symfollow"),
    ("sync", "async"),
    ("dirsync", ""),
    ("mand", "nomand"),
)
_OPPOSITE = dict(_OPPOSITES) | {b: a for a, b in _OPPOSITES if b}

#: tmpfs(5)
_TMPFS_KEYS = frozenset(
    ("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "huge", "mpol", "inode32", "inode64")
)
#: What Docker puts before the user's own options (moby, daemon/oci_linux.go).
_TMPFS_DEFAULTS = ("nosuid", "nodev", "noexec")

#: -v's options that change nothing here: SELinux relabelling is not done (a label that denies
#: goes on denying), and the consistency of a bind is only a matter on macOS.
_V_IGNORED = frozenset(("z", "Z", "cached", "delegated", "consistent"))


def parse_volume(spec: str, *, cwd: str | None = None) -> Mount:
    r"""Read ``-v [SOURCE:]TARGET[:OPTIONS]``; a colon in a path is written ``\:``."""
    parts = _split_colons(spec)
    if not all(parts) or len(parts) > 3 or (len(parts) == 2 and _is_v_options(parts[1])):
        raise UsageError(
            f"invalid volume {spec!r}",
            hint=r"write [SOURCE:]TARGET[:OPTIONS]; for a colon in a path write \: or use --mount",
        )
    if len(parts) == 1:
        return Mount(type="volume", target=_target(parts[0]))
    source, target = parts[0], _target(parts[1])
    options = parts[2].split(",") if len(parts) == 3 else []
    if "O" in options:
        return _throwaway_overlay(_host_path(source, cwd), target, options)
    if source.startswith(("/", "./", "../")) or source in (".", ".."):
        mount = Mount(
            type="bind", source=_host_path(source, cwd), target=target, create_source=True
        )
    else:
        mount = Mount(type="volume", source=_volume_name(source), target=target)
    return _apply_v_options(mount, options)


def parse_tmpfs(spec: str) -> Mount:
    """Read ``--tmpfs TARGET[:OPTIONS]``, the options as mount(8) and tmpfs(5) have them."""
    parts = _split_colons(spec, most=2)
    asked = [option for option in parts[1].split(",") if option] if len(parts) == 2 else []
    for option in asked:
        key = option.partition("=")[0]
        if option not in _OPPOSITE and key not in _TMPFS_KEYS and key not in PROPAGATIONS:
            raise UsageError(f"invalid option {option!r} for the tmpfs on {parts[0]}")
    propagation = [option for option in asked if option in PROPAGATIONS]
    options = _merge((*_TMPFS_DEFAULTS, *(o for o in asked if o not in PROPAGATIONS)))
    return Mount(
        type="tmpfs",
        target=_target(parts[0]),
        readonly="ro" in options,
        propagation=propagation[-1] if propagation else None,
        options=tuple(option for option in options if option not in ("ro", "rw")),
    )


def parse_mount(spec: str, *, cwd: str | None = None) -> Mount:
    """Read ``--mount type=…,source=…,target=…``: comma-separated, quoted as CSV (RFC 4180)."""
    fields: dict[str, Any] = {"type": "volume", "lowers": [], "options": [], "only": {}}
    fields |= {"labels": [], "driver": []}
    for field in _csv(spec):
        key, has_value, value = field.partition("=")
        key = _ALIASES.get(key, key)
        if key not in _KEYS:
            raise UsageError(_unknown_key(key, field, spec))
        wanted, read = _KEYS[key]
        if not has_value and read is not _truth:
            raise UsageError(f"{field!r} in --mount must be KEY=VALUE")
        if wanted:
            fields["only"][key] = wanted
        read(fields, key, value if has_value else "true")
    return _mount_of(fields, spec, cwd)


# --- --mount, field by field ---------------------------------------------------------------------


def _text(fields: dict[str, Any], key: str, value: str) -> None:
    fields[key] = value


def _lower(fields: dict[str, Any], key: str, value: str) -> None:
    fields[key] = value.lower()


def _truth(fields: dict[str, Any], key: str, value: str) -> None:
    # Go's strconv.ParseBool.
    if value in ("1", "t", "T", "true", "TRUE", "True"):
        fields[key] = True
    elif value in ("0", "f", "F", "false", "FALSE", "False"):
        fields[key] = False
    else:
        raise UsageError(f"invalid value for {key} in --mount: {value!r}", hint="true or false")


def _one_of(*values: str) -> Callable[[dict[str, Any], str, str], None]:
    def read(fields: dict[str, Any], key: str, value: str) -> None:
        if value.lower() not in values:
            raise UsageError(f"invalid value for {key} in --mount: {value!r}", hint=_or(values))
        fields[key] = value.lower()

    return read


def _size(fields: dict[str, Any], key: str, value: str) -> None:
    from newroot.container.resources import parse_size

    fields["options"].append(f"size={parse_size(value)}")


def _mode(fields: dict[str, Any], key: str, value: str) -> None:
    if not value or value.strip("01234567") or int(value, 8) > 0o7777:
        raise UsageError(f"invalid value for {key} in --mount: {value!r}", hint="octal, as 1777")
    fields["options"].append(f"mode={int(value, 8):o}")


def _option(fields: dict[str, Any], key: str, value: str) -> None:
    fields["options"].append(f"{key}={value}")


def _lowerdir(fields: dict[str, Any], key: str, value: str) -> None:
    fields["lowers"].append(value)


def _label(fields: dict[str, Any], key: str, value: str) -> None:
    name, _, text = value.partition("=")
    fields["labels"].append((name, text))


def _driver(fields: dict[str, Any], key: str, value: str) -> None:
    if value != "local":
        raise UsageError(f"unknown volume driver {value!r}", hint="there is local")


def _driver_option(fields: dict[str, Any], key: str, value: str) -> None:
    fields["driver"].append(value)


def _or(values: tuple[str, ...]) -> str:
    return ", ".join(values[:-1]) + " or " + values[-1]


#: key -> (the one type it is for, how its value is read)
_KEYS: dict[str, tuple[str, Callable[[dict[str, Any], str, str], None]]] = {
    "type": ("", _lower),
    "source": ("", _text),
    "target": ("", _text),
    "readonly": ("", _truth),
    "consistency": ("", _lower),
    "bind-propagation": ("bind", _one_of(*sorted(PROPAGATIONS))),
    "bind-nonrecursive": ("bind", _truth),
    "bind-recursive": ("bind", _one_of("enabled", "disabled", "writable", "readonly")),
    "bind-create-src": ("bind", _truth),
    "volume-nocopy": ("volume", _truth),
    "volume-subpath": ("volume", _text),
    "volume-label": ("volume", _label),
    "volume-driver": ("volume", _driver),
    "volume-opt": ("volume", _driver_option),
    "tmpfs-size": ("tmpfs", _size),
    "tmpfs-mode": ("tmpfs", _mode),
    "lowerdir": ("overlay", _lowerdir),
    "upperdir": ("overlay", _option),
    "workdir": ("overlay", _option),
}
_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}


def _unknown_key(key: str, field: str, spec: str) -> str:
    if key == "image-subpath":
        return f"{key} in --mount is not supported"
    return f"unexpected key {key!r} in --mount {spec!r}"


def _mount_of(fields: dict[str, Any], spec: str, cwd: str | None) -> Mount:
    kind, source = fields["type"], fields.get("source") or None
    if kind not in ("bind", "volume", "tmpfs", "overlay"):
        raise UsageError(
            f"unknown mount type {kind!r} in --mount", hint="bind, volume, tmpfs or overlay"
        )
    for key, wanted in fields["only"].items():
        if wanted != kind:
            raise UsageError(f"cannot mix {key} with a mount of type {kind}")
    if not fields.get("target"):
        raise UsageError(f"no target in --mount {spec!r}", hint="say where with target=/PATH")
    mount = Mount(
        type=kind, target=_target(fields["target"]), readonly=bool(fields.get("readonly"))
    )
    return _BY_TYPE[kind](mount, source, fields, cwd)


def _bind(mount: Mount, source: str | None, fields: dict[str, Any], cwd: str | None) -> Mount:
    if source is None:
        raise UsageError(f"no source for the bind mount on {mount.target}")
    recursive = fields.get("bind-recursive", "enabled")
    propagation = fields.get("bind-propagation")
    if recursive in ("writable", "readonly") and not mount.readonly:
        raise UsageError(f"bind-recursive={recursive} needs readonly beside it")
    if recursive == "readonly" and propagation != "rprivate":
        # A mount that arrives later by propagation would not be read-only (docker/cli#4316).
        raise UsageError("bind-recursive=readonly needs bind-propagation=rprivate beside it")
    whole = recursive != "disabled" and not fields.get("bind-nonrecursive")
    return replace(
        mount,
        source=_host_path(source, cwd),
        propagation=propagation,
        recursive=whole,
        recursive_readonly=mount.readonly and whole and recursive != "writable",
        create_source=bool(fields.get("bind-create-src")),
    )


def _volume(mount: Mount, source: str | None, fields: dict[str, Any], cwd: str | None) -> Mount:
    subpath = fields.get("volume-subpath") or None
    if source is None and mount.readonly:
        raise UsageError(f"the anonymous volume on {mount.target} cannot be read-only")
    if subpath is not None:
        if source is None:
            raise UsageError(f"the anonymous volume on {mount.target} cannot have a subpath")
        if subpath.startswith("/") or ".." in subpath.split("/"):
            raise UsageError(f"volume-subpath {subpath!r} must be relative and stay in the volume")
    return replace(
        mount,
        source=None if source is None else _volume_name(source),
        copy_up=not fields.get("volume-nocopy"),
        subpath=subpath,
        volume_labels=tuple(fields["labels"]),
        volume_options=_volume_options(fields["driver"]),
    )


def _tmpfs(mount: Mount, source: str | None, fields: dict[str, Any], cwd: str | None) -> Mount:
    if source is not None:
        raise UsageError(f"the tmpfs on {mount.target} cannot have a source")
    return replace(mount, options=(*_TMPFS_DEFAULTS, *fields["options"]))


def _overlay(mount: Mount, source: str | None, fields: dict[str, Any], cwd: str | None) -> Mount:
    lowers = ([source] if source else []) + fields["lowers"]
    own = [option.partition("=") for option in fields["options"]]
    if not lowers:
        raise UsageError(f"no source for the overlay on {mount.target}")
    if len(own) not in (0, 2) or len({key for key, _, _ in own}) != len(own):
        raise UsageError(f"the overlay on {mount.target} needs upperdir and workdir, or neither")
    return replace(
        mount,
        source=_host_path(lowers[0], cwd),
        options=(
            *(f"lowerdir={_host_path(lower, cwd)}" for lower in lowers[1:]),
            *(f"{key}={_host_path(path, cwd)}" for key, _, path in own),
        ),
    )


_BY_TYPE = {"bind": _bind, "volume": _volume, "tmpfs": _tmpfs, "overlay": _overlay}


# --- -v's third part -----------------------------------------------------------------------------


def _is_v_options(text: str) -> bool:
    # Docker reads /data:ro as a mistake, not as a volume "/data" on "ro".
    return all(_v_group(option) for option in text.split(","))


def _v_group(option: str) -> str:
    """The group that *option* is of; two of one group contradict each other."""
    if option in PROPAGATIONS:
        return "propagation"
    if option in _V_IGNORED:
        return "label" if option in ("z", "Z") else "consistency"
    if option in ("copy", "nocopy"):
        return "copy"
    if option in _OPPOSITE:
        return min(option, _OPPOSITE[option] or option)
    return "overlay" if option == "O" else ""


def _apply_v_options(mount: Mount, options: list[str]) -> Mount:
    groups = [_v_group(option) for option in options]
    if not all(groups) or len(set(groups)) != len(groups):
        raise UsageError(
            f"invalid options {','.join(options)!r} for the volume on {mount.target}",
            hint="ro, rw, nocopy, one propagation, nosuid, nodev, noexec, each at most once",
        )
    readonly = "ro" in options
    changes = {
        "readonly": readonly,
        "recursive_readonly": readonly and mount.type == "bind",
        "propagation": next((o for o in options if o in PROPAGATIONS), None),
        "copy_up": "nocopy" not in options,
        "options": tuple(o for o in options if o in _OPPOSITE and o not in ("ro", "rw")),
    }
    if changes["propagation"] and mount.type == "volume":
        raise UsageError(f"the volume on {mount.target} cannot have a propagation")
    return replace(mount, **changes)


def _throwaway_overlay(source: str, target: str, options: list[str]) -> Mount:
    if options != ["O"]:
        raise UsageError(f"the option O for {target} does not go with others")
    return Mount(type="overlay", source=source, target=target)


# --- the small words -----------------------------------------------------------------------------


def _split_colons(spec: str, most: int = 0) -> list[str]:
    r"""*spec* at its colons, at most *most* parts when given; ``\:`` and ``\\`` are no dividers.

    Another backslash is itself, as Docker has it.
    """
    parts = [""]
    characters = iter(spec)
    for character in characters:
        if character == ":" and len(parts) != most:
            parts.append("")
            continue
        if character == "\\" and len(parts) != most:
            after = next(characters, "")
            character = after if after in (":", "\\") else character + after
        parts[-1] += character
    return parts


def _csv(spec: str) -> list[str]:
    """The fields of one CSV record (RFC 4180).  The csv module would import re."""
    fields = []
    rest: str | None = spec
    while rest is not None:
        field, rest = _csv_quoted(rest, spec) if rest.startswith('"') else _csv_plain(rest, spec)
        fields.append(field)
    return fields


def _csv_plain(rest: str, spec: str) -> tuple[str, str | None]:
    field, comma, after = rest.partition(",")
    if '"' in field:
        raise UsageError(f'bare " in --mount {spec!r}', hint=_QUOTING)
    return field, after if comma else None


def _csv_quoted(rest: str, spec: str) -> tuple[str, str | None]:
    text, at = "", 1
    while True:
        end = rest.find('"', at)
        if end < 0:
            raise UsageError(f'a " in --mount {spec!r} is not closed', hint=_QUOTING)
        text += rest[at:end]
        if rest[end + 1 : end + 2] != '"':
            break
        text, at = text + '"', end + 2
    after = rest[end + 1 :]
    if after and not after.startswith(","):
        raise UsageError(f'something follows a closing " in --mount {spec!r}', hint=_QUOTING)
    return text, after[1:] if after else None


_QUOTING = "quote the whole field: --mount 'type=bind,\"source=/a,b\",target=/c'"


def _merge(options: tuple[str, ...]) -> tuple[str, ...]:
    """*options* with the later of two contradicting ones, and of two values for one key."""
    merged: dict[str, str] = {}
    for option in options:
        key = option.partition("=")[0]
        group = min(key, _OPPOSITE[key] or key) if key in _OPPOSITE else key
        merged.pop(group, None)
        merged[group] = option
    return tuple(merged.values())


def _volume_options(texts: list[str]) -> tuple[tuple[str, str], ...]:
    if not texts:
        return ()
    from newroot.rootfs.volume_options import parse_options

    return parse_options(texts)


def _volume_name(name: str) -> str:
    from newroot.rootfs.volumes import check_volume_name

    return check_volume_name(name)


def _target(path: str) -> str:
    if not path.startswith("/"):
        raise UsageError(f"the mount point {path!r} must be an absolute path")
    target = normalise(path)
    if target == "/":
        raise UsageError("a mount point cannot be /", hint="for another root use --rootfs DIR")
    return target


def _host_path(path: str, cwd: str | None) -> str:
    if path.startswith("/"):
        return normalise(path)
    if not (path.startswith(("./", "../")) or path in (".", "..")):
        raise UsageError(
            f"the source {path!r} must be an absolute path", hint="or begin with ./ or ../"
        )
    if cwd is None:
        import os

        cwd = os.getcwd()
    return normalise(f"{cwd}/{path}")


def normalise(path: str) -> str:
    """An absolute *path* without ``.``, ``..`` and double slashes, by its text alone."""
    if "\0" in path:
        raise UsageError(f"a path cannot hold a NUL byte: {path!r}")
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise UsageError(f"a path cannot hold half a surrogate pair: {path!r:.80}") from None
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)
