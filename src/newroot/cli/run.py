"""``newroot run``: the flags of one container, and the hand-over to the engine.

On the road of every start: nothing is imported here that a plain start does not need.
"""

from __future__ import annotations

from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.network_flags import NETWORK_FLAGS
from newroot.cli.verbs import VERBS
from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context
    from newroot.container.foreground import OnTimes
    from newroot.container.settings import Settings
    from newroot.engine import Engine

_NAMESPACE = ("private", "host")


def _run(parsed: Parsed, context: Context) -> int:
    if parsed.is_set("detach"):
        from newroot.cli.begin import run_detached

        return run_detached(parsed, context)
    settings, image, rootfs = container_of(parsed)
    if settings.terminal and settings.interactive:
        check_terminal()

    from newroot.engine import Engine

    with Engine(root=context.root, run_root=context.run_root) as engine:
        engine.on_warning(say_warning)
        image = fetched(engine, image, parsed)
        if parsed.is_set("explain"):
            print(engine.explain(settings, image=image, rootfs=rootfs), end="")
            return 0
        code: int = engine.run_foreground(
            settings,
            image=image,
            rootfs=rootfs,
            on_times=_timeline(parsed.text("timeline")),
            fetch=fetcher(engine, parsed),
        )
        return code


def container_of(parsed: Parsed) -> tuple[Settings, str | None, str | None]:
    """The container that is asked for: its settings, and the image or the root directory."""
    from newroot.container.words import read_settings

    image, rootfs, command = _source(parsed)
    words = {word: value for word, value in parsed.flags.items() if word not in _NOT_SETTINGS}
    if not words.get("network"):
        words["network"] = [_usual_network()]
    settings = read_settings(words, command)
    if settings.switch == "chroot":
        _warn_of_chroot()
    return settings, image, rootfs


def fetched(engine: Engine, image: str | None, parsed: Parsed) -> str | None:
    """The image, brought anew where that is to be always done."""
    always = image is not None and parsed.text("pull") == "always"
    return _fetch(engine, str(image), parsed) if always else image


def fetcher(engine: Engine, parsed: Parsed) -> Callable[[str], str] | None:
    """What brings an image that is not here; None when nothing is to."""
    if parsed.text("pull") == "never":
        return None
    return lambda name: _fetch(engine, name, parsed)


def _fetch(engine: Engine, image: str, parsed: Parsed) -> str:
    """Bring an image that is not here; its name in the store."""
    from newroot.cli.pull import fetch_for_run

    return fetch_for_run(
        engine,
        image,
        platform=parsed.text("platform"),
        tls_verify={None: None, "true": True, "false": False}[parsed.text("tls_verify")],
        quiet=parsed.is_set("quiet"),
        always=parsed.text("pull") == "always",
    )


def _timeline(path: str | None) -> OnTimes | None:
    if path is None:
        return None
    from newroot.observe.timeline import check_place, write_timeline

    check_place(path)  # before anything is started
    return lambda times, command: write_timeline(path, times, command)


def _source(parsed: Parsed) -> tuple[str | None, str | None, tuple[str, ...]]:
    rootfs = parsed.text("rootfs")
    if rootfs is not None:
        if not rootfs.removesuffix(":O"):
            raise UsageError("--rootfs needs a directory", hint="--rootfs DIR or --rootfs DIR:O")
        return None, rootfs, parsed.positionals
    if not parsed.positionals:
        raise UsageError(
            "newroot run needs an image",
            hint="newroot run IMAGE [COMMAND…], or --rootfs DIR in the image's place",
        )
    return parsed.positionals[0], None, parsed.positionals[1:]


def _usual_network() -> str:
    import os

    from newroot.network.usual import usual_network

    kind, warning = usual_network(os.environ)
    if warning is not None:
        import sys

        print(f"newroot: warning: {warning}", file=sys.stderr)
    return kind


def _warn_of_chroot() -> None:
    say_warning(
        "--switch chroot is weak: the host's files stay within reach of a process that may chroot "
        "or mount"
    )


def say_warning(words: str) -> None:
    """One line on standard error."""
    import sys

    print(f"newroot: warning: {words}", file=sys.stderr)


def check_terminal() -> None:
    """Raise UsageError when our standard input is no terminal: -it cannot hand it on."""
    import os

    if not os.isatty(0):
        raise UsageError(
            "the input device is not a TTY", hint="leave out -t, or -i, or run it in a terminal"
        )


#: Flags that say how to run, not what.
_NOT_SETTINGS = frozenset(
    ("rootfs", "pull", "platform", "tls_verify", "quiet", "explain", "timeline", "root",
     "run_root", "debug", "help", "detach", "cidfile")
)  # fmt: skip

_PROCESS = "Process"
_FILES = "Files"
_ISOLATION = "Isolation"
_PRIVILEGES = "Privileges"
_LIMITS = "Limits"
_NEWROOT = "The start itself"

#: What create and run have in common.
CONTAINER_FLAGS = (
    Flag(name="env", short="e", metavar="NAME[=VALUE]", repeat=True, group=_PROCESS,
         help="Set a variable, or hand on the one you have"),
    Flag(name="env-file", metavar="FILE", repeat=True, completes="file", group=_PROCESS,
         help="Set the variables in FILE, one a line"),
    Flag(name="workdir", short="w", metavar="DIR", group=_PROCESS,
         help="Start in this directory of the container"),
    Flag(name="user", short="u", metavar="USER[:GROUP]", group=_PROCESS,
         help="Run as this user, a name of the image's or a number"),
    Flag(name="entrypoint", metavar="COMMAND", group=_PROCESS,
         help="Replace the image's entrypoint; empty: none"),
    Flag(name="interactive", short="i", group=_PROCESS, help="Keep standard input open"),
    Flag(name="tty", short="t", group=_PROCESS, help="Give the process a terminal"),
    Flag(name="init", group=_PROCESS,
         help="Run a small init that forwards signals and reaps processes"),
    Flag(name="stop-signal", metavar="SIGNAL", completes="signal", group=_PROCESS,
         help="The signal that asks the process to end"),
    Flag(name="rm", group=_PROCESS,
         help="Remove the container and its anonymous volumes when it has ended"),
    Flag(name="name", metavar="NAME", group=_PROCESS, help="Name the container"),
    Flag(name="cidfile", metavar="FILE", completes="file", group=_PROCESS,
         help="Write the container's ID into FILE, which must not be there yet"),
    Flag(name="label", short="l", metavar="NAME=VALUE", repeat=True, group=_PROCESS,
         help="Remember this of the container"),
    Flag(name="label-file", metavar="FILE", repeat=True, completes="file", group=_PROCESS,
         help="Remember what FILE says, one a line"),
    Flag(name="restart", metavar="POLICY", group=_PROCESS,
         help="Begin a detached one anew when it has ended: no, on-failure[:TIMES], always, "
              "unless-stopped"),
    Flag(name="stop-timeout", metavar="SECONDS", group=_PROCESS,
         help="Kill it when it has not ended so long after newroot stop asked; unless told, 10"),
    Flag(name="health-cmd", metavar="COMMAND", group=_PROCESS,
         help="Ask a detached one again and again whether it is well: a line of shell that ends "
              "with 0"),
    Flag(name="health-interval", metavar="TIME", group=_PROCESS,
         help="How long to wait between two such questions; unless told, 30s"),
    Flag(name="health-timeout", metavar="TIME", group=_PROCESS,
         help="How long an answer may take; unless told, 30s"),
    Flag(name="health-retries", metavar="NUMBER", group=_PROCESS,
         help="How many failures on end make it unhealthy; unless told, 3"),
    Flag(name="health-start-period", metavar="TIME", group=_PROCESS,
         help="How long after its start a failure does not count"),
    Flag(name="no-healthcheck", group=_PROCESS, help="Do not ask, whatever the image says"),
    Flag(name="log-driver", metavar="FORM", group=_PROCESS,
         help="Keep what a detached one says as json-file or plain lines, or none"),
    Flag(name="log-opt", metavar="NAME=VALUE", repeat=True, group=_PROCESS,
         help="How large one file of the log may be, max-size=10m, and how many, max-file=3"),

    Flag(name="rootfs", metavar="DIR[:O]", completes="directory", group=_FILES,
         help="Use this directory, not an image; with :O what is changed is thrown away"),
    Flag(name="pull", metavar="WHEN", choices=("always", "missing", "never"), group=_FILES,
         help="Fetch the image always, when it is missing (unless told otherwise), or never"),
    Flag(name="platform", metavar="OS/ARCH[/VARIANT]", group=_FILES,
         help="The platform of an image that is fetched"),
    Flag(name="tls-verify", metavar="true|false", choices=("true", "false"), group=_FILES,
         help="Want TLS that can be trusted of the registry, or take what comes"),
    Flag(name="quiet", short="q", group=_FILES, help="Do not show how the image comes"),
    Flag(name="upper", metavar="WHERE", choices=("disk", "memory"), group=_FILES,
         help="Keep what the container writes on disk, or in memory and forget it"),
    Flag(name="read-only", group=_FILES, help="Mount the container's root read-only"),
    Flag(name="volume", short="v", metavar="[SRC:]DST[:OPTS]", repeat=True, completes="volume",
         group=_FILES,
         help="Mount a named volume, or a directory of the host, made when missing; "
              "OPTS: ro, nocopy, rslave, …"),
    Flag(name="mount", metavar="type=T,KEY=VALUE,…", repeat=True, group=_FILES,
         help="The same in full: type=bind|volume|tmpfs|overlay, source=, target=, readonly, "
              "bind-propagation=, …; a missing bind source is an error"),
    Flag(name="volumes-from", metavar="CONTAINER[:ro]", repeat=True, completes="container",
         group=_FILES, help="Mount what that container has of volumes and of the host"),
    Flag(name="tmpfs", metavar="DST[:OPTS]", repeat=True, group=_FILES,
         help="Mount an empty file system in memory; OPTS: size=64m, mode=1777, exec, …"),
    Flag(name="device", metavar="HOST[:DST][:rwm]", repeat=True, completes="file", group=_FILES,
         help="Give the container a device of the host"),

    *NETWORK_FLAGS,
    Flag(name="hostname", short="h", metavar="NAME", group=_ISOLATION,
         help="The host name that it sees"),
    Flag(name="pid", metavar="MODE", choices=_NAMESPACE, group=_ISOLATION,
         help="What processes it sees"),
    Flag(name="ipc", metavar="MODE", choices=_NAMESPACE, group=_ISOLATION,
         help="What shared memory, semaphores and queues it sees"),
    Flag(name="uts", metavar="MODE", choices=_NAMESPACE, group=_ISOLATION,
         help="Whose host name it sees"),
    Flag(name="cgroupns", metavar="MODE", choices=_NAMESPACE, group=_ISOLATION,
         help="What cgroups it sees"),
    Flag(name="userns", metavar="MODE", group=_ISOLATION,
         help="Whose user ids it has: host; auto or private, a range of its own; "
              "keep-id[:uid=N,gid=N] or nomap for a user; container:NAME"),
    Flag(name="fake-chown", metavar="true|false", choices=("true", "false"), group=_ISOLATION,
         help="Let calls that want other ids than there are do nothing and succeed; unless told, "
              "where a user namespace has a single id"),
    Flag(name="sysctl", metavar="NAME=VALUE", repeat=True, group=_ISOLATION,
         help="Set a kernel parameter of its own namespaces"),

    Flag(name="cap-add", metavar="CAPABILITY", repeat=True, completes="capability",
         group=_PRIVILEGES, help="Add a capability, or ALL"),
    Flag(name="cap-drop", metavar="CAPABILITY", repeat=True, completes="capability",
         group=_PRIVILEGES, help="Drop a capability, or ALL"),
    Flag(name="privileged", group=_PRIVILEGES,
         help="All capabilities and devices, no seccomp filter, nothing masked"),
    Flag(name="security-opt", metavar="OPTION", repeat=True, group=_PRIVILEGES,
         help="Change the protection: seccomp=unconfined|FILE, no-new-privileges, "
              "mask=PATH[:PATH…], unmask=ALL|PATH[:PATH…]"),

    Flag(name="memory", short="m", metavar="SIZE", group=_LIMITS,
         help="Most memory, as 64m or 1g; at least 6m"),
    Flag(name="cpus", metavar="NUMBER", group=_LIMITS, help="Most CPU time, as 1.5"),
    Flag(name="cpuset-cpus", metavar="LIST", group=_LIMITS,
         help="The only CPUs to run on, as 0-3,6"),
    Flag(name="pids-limit", metavar="NUMBER", group=_LIMITS,
         help="Most processes; -1: no limit"),
    Flag(name="limits", metavar="HOW", choices=("required", "best-effort"), group=_LIMITS,
         help="Refuse to start where limits cannot be set, unless told otherwise; best-effort: "
              "say so and start"),
    Flag(name="ulimit", metavar="NAME=SOFT[:HARD]", repeat=True, group=_LIMITS,
         help="Set a resource limit, as nofile=1024:4096"),

    Flag(name="switch", metavar="HOW", choices=("pivot", "move", "chroot"), group=_NEWROOT,
         help="How the process enters its new root"),
    Flag(name="explain", group=_NEWROOT,
         help="Print the start as a shell script, and start nothing"),
    Flag(name="timeline", metavar="FILE", completes="file", group=_NEWROOT,
         help="Write how long each step took, as SVG, or as JSON into *.json"),
)  # fmt: skip

RUN = Verb(
    name="run",
    summary=VERBS["run"][1],
    run=_run,
    flags=(
        Flag(
            name="detach",
            short="d",
            group=_PROCESS,
            help="Print the ID and leave the container to itself: newroot logs, attach, stop",
        ),
        *CONTAINER_FLAGS,
    ),
    positionals=(
        Positional(name="IMAGE", optional=True, completes="image"),
        Positional(name="COMMAND", optional=True, repeat=True),
    ),
    usage="newroot run [OPTIONS] (IMAGE | --rootfs DIR[:O]) [COMMAND [ARG...]]",
    stops_at_positional=True,
    details=(
        "Options come before the image; what follows it is the command's. -e, -v, --mount and "
        "the like may be given many times. The exit code is the "
        "command's own, 128+n when signal n ended it, 127 when it was not found, 126 when it "
        "could not be executed, 125 when newroot itself failed."
    ),
    examples=(
        ("a shell on an image", "newroot run -it --rm busybox sh"),
        (
            "a directory as the root, changes thrown away",
            "newroot run --rootfs /srv/debian:O -v data:/data /bin/ls /data",
        ),
        ("what would happen, as a script", "newroot run --explain busybox true"),
    ),
)
