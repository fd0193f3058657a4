"""``--change``: Dockerfile instructions that set something in an image's config.

Those that Docker's ``commit`` and ``import`` take, and HEALTHCHECK.  Variables are not expanded:
there is no build that they could come from.
"""

from __future__ import annotations

from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Config = dict[str, Any]

_SHELL = ["/bin/sh", "-c"]
#: Go's time.Duration, as docker reads it; nanoseconds
_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_DURATIONS = {
    "--interval": "Interval",
    "--timeout": "Timeout",
    "--start-period": "StartPeriod",
    "--start-interval": "StartInterval",
}


def changed(config: Config, instructions: Iterable[str]) -> Config:
    """The image's ``config`` section after *instructions*; *config* stays as it was.

    Raises UsageError for what is no instruction, or has no place here.
    """
    result = {key: _copy(value) for key, value in config.items()}
    words_seen = set()
    for instruction in instructions:
        word, _, rest = instruction.strip().partition(" ")
        word, rest = word.upper(), rest.strip()
        if word not in _INSTRUCTIONS or not rest:
            raise UsageError(
                f"invalid change {instruction!r}",
                hint=f"one of {', '.join(_INSTRUCTIONS)}, and its value",
            )
        _INSTRUCTIONS[word](result, rest)
        words_seen.add(word)
    if "ENTRYPOINT" in words_seen and "CMD" not in words_seen:
        result.pop("Cmd", None)  # it was the other entry point's arguments: as in a Dockerfile
    return result


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return dict(value)
    return list(value) if isinstance(value, list) else value


def _words(text: str) -> list[str]:
    import shlex

    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"read {text!r}: {str(error).lower()}") from None


def _list(text: str) -> list[str] | None:
    """A JSON list of strings, Docker's exec form; None for anything else."""
    import json

    try:
        found = json.loads(text)
    except ValueError:
        return None
    if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
        return None
    return found


def _command(text: str) -> list[str]:
    found = _list(text)
    return [*_SHELL, text] if found is None else found


def _pairs(text: str) -> dict[str, str]:
    """``A=1 B="2 3"``, or the old ``A the rest``."""
    words = _words(text)
    if "=" not in words[0]:
        name, _, value = text.partition(" ")
        return {name: value.strip()}
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UsageError(f"read {text!r}: {word!r} is not NAME=VALUE")
        found[name] = value
    return found


# ── one function for each instruction ────────────────────────────────────────────────────────


def _cmd(config: Config, text: str) -> None:
    config["Cmd"] = _command(text)


def _entrypoint(config: Config, text: str) -> None:
    config["Entrypoint"] = _command(text)


def _env(config: Config, text: str) -> None:
    new = _pairs(text)
    kept = [pair for pair in config.get("Env") or [] if pair.partition("=")[0] not in new]
    config["Env"] = kept + [f"{name}={value}" for name, value in new.items()]


def _expose(config: Config, text: str) -> None:
    ports = dict(config.get("ExposedPorts") or {})
    for word in _words(text):
        number, _, protocol = word.partition("/")
        low, _, high = number.partition("-")
        is_port = all(n.isdigit() and 0 < int(n) < 65536 for n in (low, high or low))
        if not is_port or protocol not in ("", "tcp", "udp", "sctp"):
            raise UsageError(f"expose {word!r}: it is not a port, as 80 or 53/udp")
        for port in range(int(low), int(high or low) + 1):
            ports[f"{port}/{protocol or 'tcp'}"] = {}
    config["ExposedPorts"] = ports


def _healthcheck(config: Config, text: str) -> None:
    if text.upper() == "NONE":
        config["Healthcheck"] = {"Test": ["NONE"]}
        return
    found: Config = {}
    while text.startswith("--"):
        word, _, text = text.partition(" ")
        name, _, value = word.partition("=")
        text = text.strip()
        if name in _DURATIONS:
            found[_DURATIONS[name]] = duration(value)
        elif name == "--retries" and value.isdigit():
            found["Retries"] = int(value)
        else:
            raise UsageError(f"read HEALTHCHECK: {word!r} is not one of its flags")
    word, _, command = text.partition(" ")
    if word.upper() != "CMD" or not command.strip():
        raise UsageError("read HEALTHCHECK: after its flags stands CMD and a command, or NONE")
    words = _list(command.strip())
    found["Test"] = ["CMD-SHELL", command.strip()] if words is None else ["CMD", *words]
    config["Healthcheck"] = found


def duration(text: str) -> int:
    """``1m30s`` in nanoseconds."""
    total, number, rest = 0, "", text
    while rest:
        if rest[0].isdigit():
            number, rest = number + rest[0], rest[1:]
            continue
        unit = next((u for u in ("ns", "us", "µs", "ms", "s", "m", "h") if rest.startswith(u)), "")
        if not unit or not number:
            break
        total, number, rest = total + int(number) * _UNITS[unit], "", rest[len(unit) :]
    if rest or number or not text:
        raise UsageError(f"read duration {text!r}: it is not like 30s or 1m30s")
    return total


def _label(config: Config, text: str) -> None:
    config["Labels"] = {**(config.get("Labels") or {}), **_pairs(text)}


def _onbuild(config: Config, text: str) -> None:
    config["OnBuild"] = [*(config.get("OnBuild") or []), text]


def _stopsignal(config: Config, text: str) -> None:
    config["StopSignal"] = text


def _user(config: Config, text: str) -> None:
    config["User"] = text


def _volume(config: Config, text: str) -> None:
    paths = _list(text)
    volumes = dict(config.get("Volumes") or {})
    for path in _words(text) if paths is None else paths:
        if not path.startswith("/"):
            raise UsageError(f"make a volume at {path!r}: it is not an absolute path")
        volumes[path] = {}
    config["Volumes"] = volumes


def _workdir(config: Config, text: str) -> None:
    from os.path import join, normpath

    # A relative one stands on the one before: as in a Dockerfile.
    config["WorkingDir"] = normpath(join("/", config.get("WorkingDir") or "", text))


_INSTRUCTIONS: dict[str, Callable[[Config, str], None]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
