"""From a user's words to ``Settings``: one reading for the command line and for Python.

A word has the name of Docker's flag with underscores (``cap_add``, ``read_only``, ``memory``) and
that flag's text as its value; flags that may be repeated have a list of texts.  Each parser is
imported when its word comes, for most starts bring few.
"""

from __future__ import annotations

from newroot.container.settings import Settings, check
from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

_SWITCHES = ("pivot", "move", "chroot")
_HOST_OR_PRIVATE = ("private", "host")


def read_settings(
    words: Mapping[str, Any],
    command: tuple[str, ...] = (),
    *,
    host_env: Mapping[str, str] | None = None,
) -> Settings:
    """Make ``Settings`` of *words*; a word whose value is None or empty list was not said.

    Raises UsageError, naming the word's value.  Touches nothing but the files of ``env_file``.
    """
    fields: dict[str, Any] = {"command": check_command(command)}
    said = {word: value for word, value in words.items() if value is not None and value != []}
    for word, value in said.items():
        if word in _MANY or word in _IGNORED:
            continue
        if word not in _ONE:
            raise UsageError(f"unknown setting {word!r}")
        field, read = _ONE[word]
        fields[field] = read(value)
    for group, read_group in _GROUPS:
        if any(word in said for word in group):
            fields.update(read_group(*(said.get(word, []) for word in group), host_env))
    return check(Settings(**fields))


def check_command(command: Iterable[str]) -> tuple[str, ...]:
    """Return *command* when its words can be an argv."""
    words = tuple(command)
    for word in words:
        if not isinstance(word, str):
            raise UsageError(f"a command's words must be strings, not {word!r}")
        if "\0" in word:
            raise UsageError("a command's words cannot hold a NUL byte")
    return words


# --- one word, one field -------------------------------------------------------------------------


def _same(value: Any) -> Any:
    return value


def _entrypoint(value: str | list[str]) -> tuple[str, ...]:
    # The command line has one word; Python may have several.
    return check_command(tuple([value] if isinstance(value, str) and value else value))


def _cwd(value: str) -> str:
    from newroot.container.mount_options import normalise

    if not value.startswith("/"):
        raise UsageError(f"the working directory {value!r} must be an absolute path")
    return normalise(value)


def _choice(word: str, choices: tuple[str, ...], hint: str | None = None) -> Callable[[str], str]:
    def read(value: str) -> str:
        if value not in choices:
            raise UsageError(f"invalid {word} {value!r}", hint=hint or " or ".join(choices))
        return value

    return read


def _boolean(word: str) -> Callable[[Any], bool]:
    def read(value: Any) -> bool:
        known = {"true": True, "false": False, True: True, False: False}
        if value not in known:
            raise UsageError(f"invalid {word} {value!r}", hint="true or false")
        return known[value]

    return read


def _in(room: str, name: str) -> Callable[[str], Any]:
    """A parser that is imported when it is first called."""

    def read(value: str) -> Any:
        return _load(room, name)(value)

    return read


def _each(room: str, name: str) -> Callable[[list[str]], tuple[Any, ...]]:
    def read(values: list[str]) -> tuple[Any, ...]:
        parse = _load(room, name)
        return tuple(map(parse, values))

    return read


def _load(room: str, name: str) -> Callable[[str], Any]:
    module = __import__(f"newroot.{room}", fromlist=(name,))
    parse: Callable[[str], Any] = getattr(module, name)
    return parse


_ONE: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "entrypoint": ("entrypoint", _entrypoint),
    "workdir": ("cwd", _cwd),
    "user": ("user", _in("container.names", "check_user")),
    "name": ("name", _in("container.names", "check_container_name")),
    "hostname": ("hostname", _in("container.names", "check_hostname")),
    "tty": ("terminal", _same),
    "interactive": ("interactive", _same),
    "init": ("init", _same),
    "rm": ("remove", _same),
    "stop_signal": ("stop_signal", _in("container.names", "parse_signal")),
    "stop_timeout": ("stop_timeout", _in("container.keep_options", "parse_stop_timeout")),
    "health_cmd": ("health_test", _in("container.health", "parse_health_command")),
    "health_interval": ("health_interval_ns", _in("container.health", "parse_health_time")),
    "health_timeout": ("health_timeout_ns", _in("container.health", "parse_health_time")),
    "health_start_period": (
        "health_start_period_ns",
        _in("container.health", "parse_health_time"),
    ),
    "health_retries": ("health_retries", _in("container.health", "parse_retries")),
    "log_driver": ("log_driver", _in("container.keep_options", "parse_log_driver")),
    "read_only": ("readonly_root", _same),
    "switch": ("switch", _choice("switch", _SWITCHES)),
    "upper": ("upper", _choice("upper", ("disk", "memory"))),
    "volumes_from": (
        "volumes_from",
        _each("container.volumes_from", "parse_volumes_from"),
    ),
    "device": ("devices", _each("container.privileges", "parse_device")),
    "pid": ("pid", _choice("pid namespace", _HOST_OR_PRIVATE)),
    "ipc": ("ipc", _choice("ipc namespace", _HOST_OR_PRIVATE)),
    "uts": ("uts", _choice("uts namespace", _HOST_OR_PRIVATE)),
    "cgroupns": ("cgroupns", _choice("cgroup namespace", _HOST_OR_PRIVATE)),
    "userns": ("userns", _in("container.userns", "parse_userns")),
    "fake_chown": ("fake_chown", _boolean("fake-chown")),
    "privileged": ("privileged", _same),
    "cap_add": ("cap_add", _each("linux.capabilities", "parse")),
    "cap_drop": ("cap_drop", _each("linux.capabilities", "parse")),
    "memory": ("memory_bytes", _in("container.resources", "parse_memory")),
    "limits": ("limits", _choice("limits", ("required", "best-effort"))),
    "cpus": ("cpus", _in("container.resources", "parse_cpus")),
    "pids_limit": ("pids_limit", _in("container.resources", "parse_pids_limit")),
    "cpuset_cpus": ("cpuset_cpus", _in("container.resources", "parse_cpuset")),
}


# --- several words together ----------------------------------------------------------------------


def _networking(
    network: Any, ip: Any, ip6: Any, mac: Any, aliases: Any, publish: Any, every: Any,
    expose: Any, dns: Any, search: Any, options: Any, hosts: Any, host_env: object,
) -> dict[str, Any]:  # fmt: skip
    others = (ip, ip6, mac, aliases, publish, every, expose, dns, search, options, hosts)
    kind = network if isinstance(network, str) else network[0] if len(network) == 1 else ""
    if kind in ("none", "host", "bridge") and not any(others):
        return {"network": kind}  # most starts
    from newroot.network.options import read_networking

    said, networking = read_networking(
        network,
        ip=ip or None,
        ip6=ip6 or None,
        mac=mac or None,
        aliases=aliases,
        publish=publish,
        publish_all=bool(every),
        expose=expose,
        dns=dns,
        dns_search=search,
        dns_options=options,
        hosts=hosts,
    )
    return {"networking": networking, **({"network": said} if said is not None else {})}


def _mounts(volumes: Any, mounts: Any, tmpfs: Any, host_env: object) -> dict[str, Any]:
    from newroot.container import mount_options

    return {
        "mounts": (
            *map(mount_options.parse_volume, volumes),
            *map(mount_options.parse_mount, mounts),
            *map(mount_options.parse_tmpfs, tmpfs),
        )
    }


def _environment(files: Any, env: Any, host_env: Mapping[str, str] | None) -> dict[str, Any]:
    from newroot.container.environment import read_environment

    if host_env is None:
        import os

        host_env = os.environ
    setting, unsetting = read_environment(files, env, host_env)
    return {"env": setting, "env_unset": unsetting}


def _security(options: Any, host_env: object) -> dict[str, Any]:
    from newroot.container.privileges import parse_security_options

    return parse_security_options(options)


def _sysctls(sysctls: Any, host_env: object) -> dict[str, Any]:
    from newroot.container.privileges import parse_sysctl

    return {"sysctls": tuple(dict(map(parse_sysctl, sysctls)).items())}


def _ulimits(ulimits: Any, host_env: object) -> dict[str, Any]:
    from newroot.container.resources import parse_ulimit

    # The last one for a name wins, as in Docker.
    return {"ulimits": tuple({limit[0]: limit for limit in map(parse_ulimit, ulimits)}.values())}


def _restart(policy: str, host_env: object) -> dict[str, Any]:
    from newroot.container.keep_options import parse_restart

    name, most = parse_restart(policy)
    return {"restart": name, "restart_most": most}


def _log_options(options: Any, host_env: object) -> dict[str, Any]:
    from newroot.container.keep_options import parse_log_options

    return parse_log_options(options)


def _no_health(wanted: Any, host_env: object) -> dict[str, Any]:
    return {"health_test": ("NONE",)} if wanted else {}


def _labels(files: Any, labels: Any, host_env: object) -> dict[str, Any]:
    from newroot.container.labels import read_labels

    return {"labels": read_labels(files, labels)}


_GROUPS: tuple[tuple[tuple[str, ...], Callable[..., dict[str, Any]]], ...] = (
    (
        (
            "network",
            "ip",
            "ip6",
            "mac_address",
            "network_alias",
            "publish",
            "publish_all",
            "expose",
            "dns",
            "dns_search",
            "dns_option",
            "add_host",
        ),
        _networking,
    ),
    (("volume", "mount", "tmpfs"), _mounts),
    (("env_file", "env"), _environment),
    (("security_opt",), _security),
    (("sysctl",), _sysctls),
    (("ulimit",), _ulimits),
    (("restart",), _restart),
    (("log_opt",), _log_options),
    (("no_healthcheck",), _no_health),
    (("label_file", "label"), _labels),
)
_MANY = frozenset(word for group, _ in _GROUPS for word in group)

#: Words of a run that are not the container's: who runs it reads them.
_IGNORED = frozenset(("explain", "timeline", "rootfs", "detach", "cidfile"))
