"""``newroot-oci exec``: run another command in a container that is there."""

from __future__ import annotations

import os

from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.oci import making
from newroot.cli.oci.verbs import VERBS
from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.cli.flags import Parsed
    from newroot.cli.oci.verbs import OciContext
    from newroot.container.oci_exec import ExecWishes
    from newroot.container.process import Process


def _exec(parsed: Parsed, context: OciContext) -> int:
    from newroot.container.foreground import attend
    from newroot.container.oci_exec import execute
    from newroot.container.oci_state import load
    from newroot.container.stdio import inherited
    from newroot.plan.launcher import Launcher

    container = load(context.root, parsed.positionals[0])
    detach, socket = parsed.is_set("detach"), parsed.text("console_socket")
    process = _process(parsed, container.config().get("process") or {})
    terminal = bool(process.get("terminal"))
    # With a socket the terminal is its owner's, and we only wait for the end.
    making.check_terminal(terminal, detach=detach or socket is not None, socket=socket)
    if detach or socket is not None:
        stdio, size = making.detached_stdio(terminal), _size(process)
    else:
        stdio, size = inherited(terminal=terminal, interactive=True)
    launcher = Launcher()
    try:
        made = execute(container, process, _wishes(parsed, process, size), launcher, stdio)
        if not detach:
            return attend(made, interactive=True, on_start=lambda: _started(parsed, made, socket))
        try:
            made.wait_started()
            _started(parsed, made, socket)
        except BaseException:
            made.close()
            raise
        made.hand_over()
        launcher.let_go()
        return 0
    finally:
        if not launcher.is_gone:
            launcher.close()


def _started(parsed: Parsed, made: Process, socket: str | None) -> None:
    from newroot.container.oci_create import write_pid

    if socket is not None and made.terminal_fd is not None:
        from newroot.container.console import send_terminal

        fd, made.terminal_fd = made.terminal_fd, None
        send_terminal(fd, socket)
    write_pid(parsed.text("pid_file"), made.pid)
    pidfd_socket = parsed.text("pidfd_socket")
    if pidfd_socket is not None:
        from newroot.container.console import send_pidfd

        send_pidfd(made.pid, "setns", pidfd_socket)


def _wishes(parsed: Parsed, process: dict[str, Any], size: tuple[int, int]) -> ExecWishes:
    from newroot.cli.oci.log import warn
    from newroot.container.oci_create import passed_descriptors
    from newroot.container.oci_exec import ExecWishes

    count, said = passed_descriptors(parsed.text("preserve_fds"), dict(os.environ))
    process["env"] = [*(process.get("env") or []), *(f"{k}={v}" for k, v in said.items())]
    return ExecWishes(
        sub_cgroups=tuple(parsed.texts("cgroup")),
        ignore_paused=parsed.is_set("ignore_paused"),
        passed=tuple(range(3, 3 + count)),
        terminal_size=size,
        dies_with_parent=not parsed.is_set("detach"),
        warn=warn,
    )


def _size(process: dict[str, Any]) -> tuple[int, int]:
    size = process.get("consoleSize") or {}
    return int(size.get("height") or 0), int(size.get("width") or 0)


def _process(parsed: Parsed, base: dict[str, Any]) -> dict[str, Any]:
    """What to run: a file's process, or the container's own with other words."""
    path, words = parsed.text("process"), list(parsed.positionals[1:])
    if path is not None:
        from newroot.oci.config import read_process

        return read_process(path)
    if not words:
        raise UsageError("process args cannot be empty", hint="newroot-oci exec ID COMMAND")
    process = {**base, "args": words, "terminal": parsed.is_set("tty")}
    if (cwd := parsed.text("cwd")) is not None:
        process["cwd"] = cwd
    if (label := parsed.text("process_label")) is not None:
        process["selinuxLabel"] = label
    if (profile := parsed.text("apparmor")) is not None:
        process["apparmorProfile"] = profile
    if parsed.is_set("no_new_privs"):
        process["noNewPrivileges"] = True
    process["env"] = [*(base.get("env") or []), *parsed.texts("env")]
    process["user"] = _user(parsed, base.get("user") or {})
    if parsed.texts("cap"):
        process["capabilities"] = _with(base.get("capabilities") or {}, parsed.texts("cap"))
    return process


def _user(parsed: Parsed, base: dict[str, Any]) -> dict[str, Any]:
    user = dict(base)
    text = parsed.text("user")
    if text is not None:
        uid, colon, gid = text.partition(":")
        user["uid"] = _id(uid, text)
        if colon:
            user["gid"] = _id(gid, text)
    more = [_id(gid, gid) for word in parsed.texts("additional_gids") for gid in word.split(",")]
    if more:
        user["additionalGids"] = [*(user.get("additionalGids") or []), *more]
    return user


def _id(text: str, whole: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"invalid user {whole!r:.80}", hint="UID[:GID], in numbers")
    return int(text)


def _with(sets: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """More capabilities, in the sets that runc puts them in."""
    upper = [name.upper() for name in names]
    given = ("bounding", "effective", "permitted", "ambient")
    return {**sets, **{key: [*(sets.get(key) or []), *upper] for key in given}}


EXEC = Verb(
    name="exec",
    summary=VERBS["exec"][1],
    run=_exec,
    flags=(
        Flag(name="process", short="p", metavar="FILE", help="What to run, as an OCI process"),
        Flag(name="tty", short="t", help="Give it a terminal"),
        making.CONSOLE_SOCKET,
        Flag(name="cwd", metavar="DIR", help="The directory that it begins in"),
        Flag(name="user", short="u", metavar="UID[:GID]", help="Who it is"),
        Flag(
            name="additional-gids",
            short="g",
            metavar="GID",
            repeat=True,
            help="Another group that it is in",
        ),
        Flag(
            name="env",
            short="e",
            metavar="NAME=VALUE",
            repeat=True,
            help="Set an environment variable",
        ),
        Flag(name="cap", short="c", metavar="CAP", repeat=True, help="Add a capability"),
        Flag(name="apparmor", metavar="PROFILE", help="Its AppArmor profile"),
        Flag(name="process-label", metavar="LABEL", help="Its SELinux label"),
        Flag(name="no-new-privs", help="No program in it can gain privileges"),
        making.PRESERVE_FDS,
        Flag(
            name="cgroup",
            metavar="[CONTROLLER:]PATH",
            repeat=True,
            help="A cgroup below the container's",
        ),
        Flag(name="ignore-paused", help="Also in a container that is paused"),
        making.PID_FILE,
        making.PIDFD_SOCKET,
        Flag(name="detach", short="d", help="Leave it alone once it is started"),
    ),
    positionals=(
        Positional(name="ID"),
        Positional(name="COMMAND", optional=True),
        Positional(name="ARG", optional=True, repeat=True),
    ),
    stops_at_positional=True,
)
