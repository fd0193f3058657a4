"""The parent's part of a start: what newroot-init waits for, done here.

A step of the plan that waits says so; who reads the reports calls ``answer()``, which does what
that step is for, and lets it go on.  What cannot be done is raised; the caller then ends the
container.
"""

from __future__ import annotations

import os

from newroot.errors import BugError
from newroot.plan import steps as s

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.plan.launcher import Launch, Report


class Parent:
    """Does the parent's part of *plan*, which was made from *config*.

    *state* is the container's state for its hooks, without its status and its process:
    ociVersion, id, bundle, annotations.
    """

    def __init__(self, config: dict[str, Any], plan: s.Plan, state: dict[str, Any]) -> None:
        self._config = config
        self.plan = plan
        self.state = state
        self._output: int | None = None  # of the hook that runs, or ran last

    def answer(self, report: Report, launch: Launch) -> None:
        """Do what the step that waits is waiting for, and let it go on."""
        step = self.plan.steps[report.index]
        given: tuple[int, ...] = ()
        if isinstance(step, s.RunHook):
            given = self._descriptors(step, launch.pid)
        elif isinstance(step, s.MoveInterfaces):
            self._move_interfaces(step, report, launch)
        elif isinstance(step, s.LoadSeccomp):
            self._send_listener(report, launch)
        elif isinstance(step, s.Wait):
            self._run_hooks(step, launch.pid)
        try:
            launch.go_on(given)
        finally:
            for fd in given[:1]:
                os.close(fd)

    def started(self, pid: int) -> None:
        """The command runs: the poststart hooks are due."""
        if (self._config.get("hooks") or {}).get("poststart"):
            from newroot.container.hooks import run_hooks

            run_hooks(self._config, "poststart", self.state, pid)

    def output(self, report: Report) -> str:
        """What the hook of the step that failed wrote; else nothing."""
        if self._output is None or not isinstance(self.plan.steps[report.index], s.RunHook):
            return ""
        from newroot.container.hooks import shown_output

        return shown_output(self._output)

    def close(self) -> None:
        fd, self._output = self._output, None
        if fd is not None:
            os.close(fd)

    def _run_hooks(self, step: s.Wait, pid: int) -> None:
        from newroot.container import hooks

        for point in hooks.RUNTIME_POINTS if step.reason == hooks.WAIT else ():
            hooks.run_hooks(self._config, point, self.state, pid)

    def _descriptors(self, step: s.RunHook, pid: int) -> tuple[int, int]:
        from newroot.container import hooks

        self.close()
        state = hooks.hook_state(self.state, step.point, hooks.pid_inside(pid))
        self._output = hooks.output_file()
        return hooks.state_file(state), self._output

    def _move_interfaces(self, step: s.MoveInterfaces, report: Report, launch: Launch) -> None:
        from newroot.isolation.netdevices import move_interfaces

        if report.fd is None:
            raise BugError("newroot-init has shown no socket of the container's network")
        move_interfaces(step, launch.pid, report.fd)

    def _send_listener(self, report: Report, launch: Launch) -> None:
        from newroot.container.seccomp_listener import send_listener
        from newroot.linux.pidfds import take_descriptor

        listener = take_descriptor(launch.pidfd, report.error)
        state = {"status": "creating", **self.state, "pid": launch.pid}
        try:
            send_listener(self._config["linux"]["seccomp"], listener, launch.pid, state)
        finally:
            os.close(listener)
