"""What newroot-init reports becomes an error that explains itself.

newroot-init says which step failed, with which errno, in which system call, and what the kernel
wrote into the fs context.  The plan is still here, so the sentence is made here.
"""

from __future__ import annotations

import errno
import os

from newroot.errors import StepError
from newroot.plan import steps as s

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.plan.launcher import Report


def step_error(plan: s.Plan, report: Report) -> StepError:
    """The error for a failed step."""
    step = plan.steps[report.index] if report.index < len(plan.steps) else s.Wait(reason="?")
    name = errno.errorcode.get(report.error, str(report.error))
    words = step.explain()
    log = "; ".join(line.split(" ", 1)[-1] for line in report.log.splitlines() if line)
    said = f" [kernel: {log}]" if log else ""
    place = f"step {report.index + 1} of {len(plan.steps)}"
    from newroot.plan.diagnose import hint_for

    return StepError(
        f"{place}, {words}: {os.strerror(report.error)} ({name}){said}",
        errno=report.error,
        step=words,
        index=report.index + 1,
        total=len(plan.steps),
        kernel_log=log,
        hint=hint_for(plan, step, report.error, log, call_name(report.call)),
    )


#: The calls that steps make, by their numbers on this machine.
def call_name(number: int) -> str:
    """The name of a system call, ``""`` for 0 or one that is not known."""
    if not number:
        return ""
    from newroot.linux.syscalls import name_of

    return name_of(number) or ""
