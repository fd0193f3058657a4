"""What went wrong, said to a person on stderr and to the calling engine in its log.

podman reads its log as one JSON document, so one failure is one entry, and nothing else is written
there (libpod/oci_conmon_linux.go, readConmonPipeData); containerd takes the last entry of the level
``error`` (go-runc, getLastRuntimeError).  Both look for runc's words in it.
"""

from __future__ import annotations

from newroot.errors import NewrootError, StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed


def tell(error: Exception, before: Parsed | None) -> None:
    """Say what *error* is, in the forms that the global flags *before* ask for."""
    from newroot.cli.failures import as_ours, say

    if before is not None and before.is_set("debug"):
        import traceback

        traceback.print_exception(error)
    ours = error if isinstance(error, NewrootError) else as_ours(error)
    message = _in_runcs_words(ours)
    path = before.text("log") if before is not None else None
    as_json = before is not None and before.text("log_format") == "json"
    if path is None and as_json:
        say(entry(message, as_json=True))
        return
    say(f"newroot-oci: {message}")
    if ours.hint:
        say(f"hint: {ours.hint}")
    if path is None:
        return
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(entry(message, as_json=as_json) + "\n")
    except OSError as failure:
        say(f"newroot-oci: write the log {path}: {failure.strerror}")


def _in_runcs_words(error: NewrootError) -> str:
    """*error*'s message; for a command that cannot be executed with runc's in front.

    By those words podman, Docker and containerd tell 126 and 127 from other failures
    (moby/daemon/errors.go, libpod/oci_util.go).
    """
    from errno import EACCES, ENOENT

    if not isinstance(error, StepError) or not error.step.startswith("execute "):
        return str(error)
    name = error.step.split(" ")[1]
    found = {EACCES: "permission denied", ENOENT: "executable file not found in $PATH"}
    if error.errno == ENOENT and "/" in name:
        words = f"stat {name}: no such file or directory"
    elif error.errno in found:
        words = found[error.errno]
    else:
        return str(error)
    return f'unable to start container process: exec: "{name}": {words}: {error}'


def warn(words: str) -> None:
    """Say a warning to a person; the log is for what failed."""
    from newroot.cli.failures import say

    say(f"newroot-oci: warning: {words}")


def entry(message: str, *, as_json: bool, level: str = "error") -> str:
    """One line of a log, as logrus writes it."""
    from time import gmtime, strftime

    from newroot.oci import json

    time = strftime("%Y-%m-%dT%H:%M:%SZ", gmtime())
    if as_json:
        return json.dumps({"level": level, "msg": message, "time": time})
    return f'time="{time}" level={level} msg={json.dumps(message)}'
