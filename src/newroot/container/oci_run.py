"""``newroot-oci run`` in the foreground: a container that ends with its caller, and is attended.

Nothing need be waited for here, so the command runs as soon as all is made.  What is needed only
once newroot-init is at work is imported then: it works on another processor.
"""

from __future__ import annotations

from newroot.container.oci_create import Making, tell_pid
from newroot.container.stdio import inherited
from newroot.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.container.bundle import Bundle
    from newroot.container.oci_create import Wishes
    from newroot.container.process import Process
    from newroot.plan.launcher import Ended


def run(root: str, container_id: str, bundle: Bundle, wishes: Wishes, *, keep: bool) -> int:
    """Run a container to its end on our own streams; return its exit code.

    With *keep* its state and its cgroup stay, as those of a stopped container.
    """
    terminal = bool(bundle.config["process"].get("terminal"))
    stdio, size = inherited(terminal=terminal, interactive=True)
    making = Making(root, container_id, bundle, replace(wishes, terminal_size=size))
    try:
        try:
            around = making.prepare(awaits_start=False)
            launch, plan, parent = making.hand_over(around, stdio)
        except BaseException:
            making.undo()
            raise
        from newroot.container.foreground import attend
        from newroot.container.process import Cleanup, Process

        making.foresee_end()

        def release(ended: Ended | None) -> None:
            if not keep or ended is None:
                making.undo()

        cgroup = making.cgroup
        process = Process(
            launch,
            lambda: plan,
            Cleanup(
                oom_kills=cgroup.oom_kills if cgroup is not None else lambda: 0,
                release=release,
                started=making.started,
            ),
            tuple(bundle.config["process"]["args"]),
            stdio.pipes,
            parent=parent,
        )
        if wishes.notify_socket is not None:
            return _attend_ready(process, making, wishes)
        return attend(
            process,
            interactive=True,
            on_start=lambda: tell_pid(wishes, process.pid),
        )
    finally:
        if making.launcher is not None and not making.launcher.is_gone:
            making.launcher.close()
        making.close()


def _attend_ready(process: Process, making: Making, wishes: Wishes) -> int:
    """Attend a container that may say that it is ready, which is passed on meanwhile."""
    import _thread

    from newroot.container.foreground import attend
    from newroot.container.notify_socket import NotifySocket

    with NotifySocket(making.container, str(wishes.notify_socket)) as socket:
        passed_on = _thread.allocate_lock()

        def pass_on() -> None:
            try:
                socket.pass_on(process.pid, 0)
            finally:
                passed_on.release()

        def on_start() -> None:
            tell_pid(wishes, process.pid)
            passed_on.acquire()  # here: the thread may begin after the container has ended
            _thread.start_new_thread(pass_on, ())

        try:
            return attend(process, interactive=True, on_start=on_start)
        finally:
            with passed_on:  # what it said last is said
                pass
