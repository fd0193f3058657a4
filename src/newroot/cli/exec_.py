"""``newroot exec``: another command in a container that runs."""

from __future__ import annotations

from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.run import check_terminal
from newroot.cli.verbs import VERBS
from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context
    from newroot.container.exec import Asked


def _exec(parsed: Parsed, context: Context) -> int:
    from newroot.engine import Engine

    name, asked = parsed.positionals[0], _asked(parsed)
    interactive = parsed.is_set("interactive")
    with Engine(context.root, run_root=context.run_root) as engine:
        if parsed.is_set("detach"):
            engine.exec_detached(name, asked)
            return 0
        if asked.terminal and interactive:
            check_terminal()
        return engine.exec_foreground(name, asked, interactive=interactive)


def _asked(parsed: Parsed) -> Asked:
    import os

    from newroot.container.environment import read_environment
    from newroot.container.exec import Asked
    from newroot.container.words import check_command

    cwd = parsed.text("workdir")
    if cwd is not None and not cwd.startswith("/"):
        raise UsageError(f"the working directory {cwd!r} must be an absolute path")
    setting, _ = read_environment(parsed.texts("env_file"), parsed.texts("env"), os.environ)
    return Asked(
        command=check_command(parsed.positionals[1:]),
        env=setting,
        cwd=cwd,
        user=parsed.text("user"),
        terminal=parsed.is_set("tty"),
        privileged=parsed.is_set("privileged"),
    )


EXEC = Verb(
    name="exec",
    summary=VERBS["exec"][1],
    run=_exec,
    flags=(
        Flag(name="detach", short="d", help="Leave the command to itself; what it says is lost"),
        Flag(name="interactive", short="i", help="Keep standard input open"),
        Flag(name="tty", short="t", help="Give the command a terminal"),
        Flag(
            name="env",
            short="e",
            metavar="NAME[=VALUE]",
            repeat=True,
            help="Set a variable, or hand on the one you have",
        ),
        Flag(
            name="env-file",
            metavar="FILE",
            repeat=True,
            completes="file",
            help="Set the variables in FILE, one a line",
        ),
        Flag(name="user", short="u", metavar="USER[:GROUP]", help="Run as this user"),
        Flag(name="workdir", short="w", metavar="DIR", help="Start in this directory"),
        Flag(name="privileged", help="All capabilities, no seccomp filter"),
    ),
    positionals=(
        Positional(name="CONTAINER", completes="container"),
        Positional(name="COMMAND", repeat=True),
    ),
    usage="newroot exec [OPTIONS] CONTAINER COMMAND [ARG...]",
    stops_at_positional=True,
    details=(
        "In the container's environment, directory and cgroup, as its user, confined as it is, "
        "unless told otherwise. The exit code is the command's, as with newroot run."
    ),
)
