"""What ``create`` and ``run`` have in common: their flags, and how those are read."""

from __future__ import annotations

import os

from newroot.cli.flags import Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.oci.verbs import OciContext
    from newroot.container.bundle import Bundle
    from newroot.container.oci_create import Wishes
    from newroot.container.stdio import Stdio

BUNDLE = Flag(
    name="bundle", short="b", metavar="DIR", help="The bundle's directory, by default this one"
)
CONSOLE_SOCKET = Flag(
    name="console-socket", metavar="FILE", help="Hand the terminal's other end to this socket"
)
PID_FILE = Flag(name="pid-file", metavar="FILE", help="Write the process id to FILE")
PIDFD_SOCKET = Flag(
    name="pidfd-socket", metavar="FILE", help="Hand a descriptor of the process to this socket"
)
PRESERVE_FDS = Flag(
    name="preserve-fds", metavar="N", help="Give the command N descriptors of ours, from 3 on"
)
FLAGS = (
    BUNDLE,
    Flag(name="config", short="f", metavar="FILE", help="The config, in place of config.json"),
    CONSOLE_SOCKET,
    PID_FILE,
    PIDFD_SOCKET,
    Flag(name="no-pivot", help="Move the root instead: for a host in an initramfs"),
    Flag(name="no-new-keyring", help="Leave it in our session keyring"),
    PRESERVE_FDS,
)


def read(parsed: Parsed, context: OciContext, *, detach: bool) -> tuple[str, Bundle, Wishes]:
    """The container's id, its bundle, and how it is to be made."""
    from newroot.cli.oci.log import warn
    from newroot.container.bundle import read_bundle
    from newroot.container.names import check_container_id
    from newroot.container.oci_create import Wishes, passed_descriptors

    container_id = check_container_id(parsed.positionals[0])  # it becomes a file's name
    config_file = parsed.text("config")
    bundle = read_bundle(
        parsed.text("bundle") or ".", os.path.abspath(config_file) if config_file else None
    )
    process = bundle.config["process"]
    check_terminal(
        bool(process.get("terminal")), detach=detach, socket=parsed.text("console_socket")
    )
    count, said = passed_descriptors(parsed.text("preserve_fds"), dict(os.environ))
    if said:
        process["env"] = [*(process.get("env") or []), *(f"{k}={v}" for k, v in said.items())]
    size = process.get("consoleSize") or {}
    if bundle.in_user_namespace:
        from newroot.container.oci_rootless import enter

        bundle = enter(bundle)
    return (
        container_id,
        bundle,
        Wishes(
            cgroup_manager=context.cgroup_manager,
            rootless=context.rootless,
            no_pivot=parsed.is_set("no_pivot"),
            new_keyring=not parsed.is_set("no_new_keyring"),
            pid_file=parsed.text("pid_file"),
            pidfd_socket=parsed.text("pidfd_socket"),
            console_socket=parsed.text("console_socket"),
            passed=tuple(range(3, 3 + count)),
            terminal_size=(int(size.get("height") or 0), int(size.get("width") or 0)),
            notify_socket=os.environ.get("NOTIFY_SOCKET"),
            warn=warn,
        ),
    )


def check_terminal(terminal: bool, *, detach: bool, socket: str | None) -> None:
    """Raise UsageError, in runc's words, where a terminal would be nobody's."""
    from newroot.errors import UsageError

    if detach and terminal and not socket:
        raise UsageError(
            "cannot allocate tty if newroot-oci will detach without setting console socket"
        )
    if socket and not (detach and terminal):
        raise UsageError("cannot use console socket if newroot-oci will not detach or allocate tty")


def detached_stdio(terminal: bool) -> Stdio:
    """Our own streams for a container that is left alone; with a terminal it gets that."""
    from newroot.container.stdio import Stdio

    if not terminal:
        return Stdio(fds=(0, 1, 2))
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    return Stdio(fds=(null, null, null), theirs=(null,))
