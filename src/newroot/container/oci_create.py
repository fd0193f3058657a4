"""An OCI container is created, and with ``run`` started at once: from a bundle to a process.

What will be made is written down before it is.  The launcher kills what it started when we die,
so until ``let_go()`` a creator that is killed leaves nothing but files and an empty cgroup, which
the next create or delete of that id removes.  Afterwards the container is an orphan, and its
subreaper's: conmon's, containerd-shim's.
"""

from __future__ import annotations

import errno
import fcntl
import os

from newroot.container import bundle as bundles
from newroot.container.oci_state import OciContainer, load, save
from newroot.container.parent import Parent
from newroot.container.streams import give_streams
from newroot.errors import AlreadyExists, NewrootError, SyscallError, UsageError
from newroot.linux.processes import start_ticks
from newroot.plan import steps as s
from newroot.plan.launcher import REPORT_FAILED, REPORT_TERMINAL, REPORT_WAITING, Launcher
from newroot.record import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from newroot.container.bundle import Bundle, Circumstances
    from newroot.container.stdio import Stdio
    from newroot.isolation.cgroups.cgroup import Cgroup
    from newroot.isolation.user_namespace import Spaces
    from newroot.plan.launcher import Launch
    from newroot.plan.steps import Plan


def _silent(words: str) -> None:
    pass


@record
class Wishes:
    """How a container is to be made, beside what its config says."""

    cgroup_manager: str = "cgroupfs"
    rootless: str = "auto"
    no_pivot: bool = False
    new_keyring: bool = True
    pid_file: str | None = None
    pidfd_socket: str | None = None
    console_socket: str | None = None
    passed: tuple[int, ...] = ()  #: descriptors that the command gets as 3, 4, …
    terminal_size: tuple[int, int] = (0, 0)
    notify_socket: str | None = None  #: where systemd wants to hear that it is ready
    warn: Callable[[str], None] = _silent


class Making:
    """One container while it is made: what there is of it, to be kept or taken away.

    The state directory is locked until ``close()``.
    """

    def __init__(self, root: str, container_id: str, bundle: Bundle, wishes: Wishes) -> None:
        self.bundle = bundle
        self.wishes = wishes
        self.cgroup: Cgroup | None = None
        self.launcher: Launcher | None = None
        self.launch: Launch | None = None
        self.plan: Plan | None = None
        self.parent: Parent | None = None
        self._spaces: Spaces | None = None
        directory = f"{root}/{container_id}"
        self.container = OciContainer(
            id=container_id,
            directory=directory,
            oci_version=bundle.config["ociVersion"],
            bundle=bundle.directory,
            rootfs=bundle.rootfs,
            annotations=bundle.config.get("annotations") or {},
            no_pivot=wishes.no_pivot,
            new_keyring=wishes.new_keyring,
            cgroup_manager=wishes.cgroup_manager,
        )
        self._fd = _take_directory(root, directory)

    def prepare(self, *, awaits_start: bool) -> Circumstances:
        """Write down what there will be, then make what the plan needs."""
        from newroot.container.bundle_config import check_host, keyring, make_resource_group
        from newroot.container.oci_cgroup import is_rootless, make_cgroup, place_cgroup
        from newroot.isolation.cgroups.detect import detect
        from newroot.oci import json

        check_host(self.bundle.config)
        if self.wishes.notify_socket:
            from newroot.container.notify_socket import with_socket

            config = with_socket(self.bundle.config, self.container.directory)
            self.bundle = replace(self.bundle, config=config)
        host = detect()
        config, wishes = self.bundle.config, self.wishes
        rootless = is_rootless(wishes.rootless)
        placed = place_cgroup(
            config, self.container.id, host, manager=wishes.cgroup_manager, rootless=rootless
        )
        if placed is not None:
            self._note(cgroup_path=placed.path, cgroup_user=placed.user, cgroups=placed.directories)
        else:
            self._note()
        with open(f"{self.container.directory}/config.json", "w", encoding="utf-8") as file:
            file.write(json.dumps(config))
        os.mkdir(self.container.scratch, 0o700)
        self.cgroup = make_cgroup(placed, config, self.container.id, host, rootless=rootless)
        if self.cgroup is None:
            self._note(cgroup_path=None, cgroups=())
        groups = make_resource_group(config, self.container.id)
        return bundles.Circumstances(
            scratch=self.container.scratch,
            cgroup=self.cgroup,
            host=host,
            switch="move" if wishes.no_pivot else "pivot",
            awaits_start=awaits_start,
            terminal_size=wishes.terminal_size,
            groups=groups,
            keyring=keyring(self.container.id, wanted=wishes.new_keyring),
        )

    def _note(self, **changes: Any) -> None:
        self.container = replace(self.container, **changes)
        save(self.container)

    def hand_over(
        self, around: Circumstances, stdio: Stdio, own: tuple[int, ...] = ()
    ) -> tuple[Launch, Plan, Parent]:
        """Start newroot-init and give it the plan."""
        self.launcher = Launcher()
        try:
            self.launch, self.plan, self._spaces = bundles.launch(
                self.bundle,
                around,
                self.launcher,
                stdio.fds,
                own=own,
                passed=self.wishes.passed,
                warn=self.wishes.warn,
            )
        finally:
            for fd in stdio.theirs:
                os.close(fd)
        state = self.bundle.state(self.container.id)
        self.parent = Parent(self.bundle.config, self.plan, state)
        return self.launch, self.plan, self.parent

    def started(self, pid: int) -> None:
        """Its first process is there."""
        from time import time_ns

        if self.cgroup is not None:
            self.cgroup.joined()
        self._note(pid=pid, start_ticks=start_ticks(pid) or 0, created_ns=time_ns())

    def undo(self) -> None:
        """Take away all that was made."""
        if self.launcher is not None:
            self.launcher.close()
        self.remove()
        if self.parent is not None:
            self._run_poststop()

    def foresee_end(self) -> None:
        """Load what ``remove()`` will need, while somebody else is at work."""
        from newroot.container import oci_delete  # noqa: F401
        from newroot.linux import trees  # noqa: F401

        if self.cgroup is not None:
            from newroot.isolation.cgroups import members, removal  # noqa: F401

    def remove(self) -> None:
        """Take away the cgroup and the files of a container whose process is dead."""
        from newroot.container.bundle_config import remove_resource_group
        from newroot.container.oci_delete import remove_files

        try:
            if self.cgroup is not None:
                self.cgroup.joined()
                self.cgroup.kill()
                self.cgroup.remove()
            remove_resource_group(self.bundle.config, self.container.id)
        finally:
            remove_files(self.container.directory)

    def _run_poststop(self) -> None:
        if self.bundle.config.get("hooks") and self.parent is not None:
            from newroot.container.hooks import run_poststop_hooks

            run_poststop_hooks(self.bundle.config, self.parent.state, self.wishes.warn)

    def close(self) -> None:
        for thing in (self._spaces, self.parent, self.launch):
            if thing is not None:
                thing.close()
        os.close(self._fd)


def create(
    root: str, container_id: str, bundle: Bundle, wishes: Wishes, stdio: Stdio
) -> OciContainer:
    """Create a container: all of it is there but its command, which ``start`` executes.

    Raises AlreadyExists, and what can be known to be wrong before the command runs; then nothing
    of the container remains.
    """
    making = Making(root, container_id, bundle, wishes)
    try:
        try:
            _create(making, stdio)
        except BaseException:
            making.undo()
            raise
        assert making.launcher is not None
        making.launcher.let_go()
    finally:
        making.close()
    return making.container


def _create(making: Making, stdio: Stdio) -> None:
    around = making.prepare(awaits_start=True)
    listener = listen(making.container)
    give_streams(making.bundle.config, stdio.fds)
    try:
        launch, plan, parent = making.hand_over(around, stdio, own=(listener.fileno(),))
    finally:
        listener.close()
    if not launch.pid:  # in a user namespace it was asked for already
        launch.read_started(block=True)
    answer_until_created(launch, plan, parent, making.wishes.console_socket)
    making.started(launch.pid)
    tell_pid(making.wishes, launch.pid)
    launch.go_on()


def answer_until_created(
    launch: Launch, plan: Plan, parent: Parent, console_socket: str | None
) -> None:
    """Do the parent's part of a start, until the plan waits to be started.

    Raises StepError for a step that failed.
    """
    from newroot.plan.report import step_error

    while (report := launch.next_report()) is not None:
        if report.kind == REPORT_FAILED:
            raise step_error(plan, report, output=parent.output(report))
        if report.kind == REPORT_TERMINAL and report.fd is not None:
            from newroot.container.console import send_terminal

            send_terminal(report.fd, console_socket)
        elif report.kind == REPORT_WAITING:
            if isinstance(plan.steps[report.index], s.AwaitStart):
                return
            parent.answer(report, launch)
    raise NewrootError("the container's process ended while it was being created")


def listen(container: OciContainer) -> Any:
    """The socket at which the container waits to be started; a caller finds it by its path."""
    import _socket

    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    # A socket's name has 108 bytes, and a path of --root may have more: unix(7).
    directory = os.open(container.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{directory}/start")
        listener.listen(8)
    finally:
        os.close(directory)
    return listener


def tell_pid(wishes: Wishes, pid: int) -> None:
    """Say which process is the container's first: --pid-file, --pidfd-socket."""
    write_pid(wishes.pid_file, pid)
    if wishes.pidfd_socket is not None:
        from newroot.container.console import send_pidfd

        send_pidfd(pid, "standard", wishes.pidfd_socket)


def write_pid(path: str | None, pid: int) -> None:
    """Write the --pid-file: whole, or not at all."""
    if path is None:
        return
    beside = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}")
    with open(beside, "w", encoding="ascii") as file:
        file.write(str(pid))
    os.rename(beside, path)


def _take_directory(root: str, directory: str) -> int:
    """Make a container's directory and lock it; what a killed creator left is removed first."""
    from newroot.container.oci_delete import remove_leftovers

    os.makedirs(root, mode=0o711, exist_ok=True)
    while True:
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:
            name = os.path.basename(directory)
            if not remove_leftovers(load(root, name)):
                raise AlreadyExists("container with given ID already exists") from None
            continue
        except OSError as error:
            raise _failed("mkdir", directory, error) from error
        try:
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:  # taken for a leftover, a moment too early
            continue
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return fd
        os.close(fd)


def _failed(call: str, path: str, error: OSError) -> SyscallError:
    number = error.errno or 0
    name = errno.errorcode.get(number, str(number))
    return SyscallError(
        f"{call} {path}: {error.strerror} ({name})", errno=number, call=call, target=path
    )


def passed_descriptors(preserve: str | None, environ: dict[str, str]) -> tuple[int, dict[str, str]]:
    """How many descriptors from 3 on the command gets, and what its environment says of them.

    systemd's come first, then those of --preserve-fds: sd_listen_fds(3), and runc's order.
    """
    count = _number(preserve, "--preserve-fds")
    listening = 0
    if environ.get("LISTEN_PID") == str(os.getpid()) or "LISTEN_PID" not in environ:
        listening = _number(environ.get("LISTEN_FDS"), "LISTEN_FDS")
    for fd in range(3, 3 + listening + count):
        try:
            os.fstat(fd)
        except OSError:
            raise UsageError(f"unable to stat preserved fd {fd}: it is not open") from None
    said = {"LISTEN_FDS": str(listening), "LISTEN_PID": "1"} if listening else {}
    return listening + count, said


def _number(text: str | None, what: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 5):
        raise UsageError(f"{what} is not a number: {text!r:.40}")
    return int(text)
