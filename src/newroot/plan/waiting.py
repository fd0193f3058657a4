"""A plan is carried out until it waits, and its process looked at from outside.

What such a process has made, a namespace or a tree of mounts, is its parent's to open meanwhile,
and goes with it.  Nothing but newroot-init runs in it: the plan has no command.
"""

from __future__ import annotations

import os

from newroot.errors import BugError, NewrootError, SyscallError
from newroot.plan import encode
from newroot.plan import steps as s
from newroot.plan.launcher import REPORT_FAILED, REPORT_WAITING
from newroot.plan.report import step_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from newroot.plan.launcher import Launch, Launcher


def while_waiting(
    launcher: Launcher, plan: s.Plan, use: Callable[[int], Any], *, held: Sequence[int] = ()
) -> Any:
    """Carry out *plan* until it waits, look at its process, and end that.

    *use* is given the process id.  *held* stay open until the process is gone, whatever becomes
    of this one.  Raises StepError when a step failed.
    """
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        first = plan.steps[0]
        assert isinstance(first, s.Unshare)
        launch = launcher.launch(
            encode.encode(plan),
            encode.clone_flags(first.namespaces),
            (null, null, null),
            held=held,
        )
    finally:
        os.close(null)
    try:
        launch.read_started(block=True)
        await_waiting(launch, plan)
        return use(launch.pid)
    except NewrootError:
        raise
    except OSError as error:
        raise SyscallError(
            f"open {error.filename}: {error.strerror}",
            errno=error.errno or 0,
            call="open",
            target=str(error.filename),
        ) from error
    finally:
        launch.end()
        launch.close()


def await_waiting(launch: Launch, plan: s.Plan) -> None:
    """Wait until the process waits for us."""
    report = launch.next_report()
    if report is None:
        raise SyscallError(
            "waiting for newroot-init: it ended before its first step",
            errno=3,
            call="recvmsg",
            target="newroot-init",
        )
    if report.kind == REPORT_FAILED:
        raise step_error(plan, report)
    if report.kind != REPORT_WAITING:
        raise BugError(f"newroot-init said {report.kind} in place of waiting")
