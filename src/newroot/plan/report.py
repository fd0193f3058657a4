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
    from newroot.plan.host import Host
    from newroot.plan.launcher import Report

#: A command may have a million words, and an overlay 500 layers; a message is for reading.
_MOST_WORDS = 600


def step_error(
    plan: s.Plan, report: Report, host: Host | None = None, *, output: str = ""
) -> StepError:
    """The error for a failed step.  *host* is what a diagnosis looks at: by default, this one.

    *output* is what a hook wrote before it failed.
    """
    from newroot.plan.diagnose import Failure, diagnose

    index = min(report.index, len(plan.steps) - 1)
    words = plan.steps[index].explain()
    log = "; ".join(line.split(" ", 1)[-1] for line in report.log.splitlines() if line)
    call = call_name(report.call)
    found = diagnose(Failure(plan, index, report.error, call=call, log=log, host=host))
    name = errno.errorcode.get(report.error, str(report.error))
    cause = found.cause if found is not None and found.cause else os.strerror(report.error)
    cause = f"{shorten(cause)} ({name})"
    if isinstance(plan.steps[index], s.RunHook) and report.error == errno.ECANCELED:
        cause = _ending(report.call)
    said = f" [kernel: {log}]" if log else f", output: {output}" if output else ""
    place = f"step {index + 1} of {len(plan.steps)}"
    return StepError(
        f"{place}, {shorten(words)}: {cause}{said}",
        errno=report.error,
        step=words,
        index=index + 1,
        total=len(plan.steps),
        kernel_log=log,
        hint=None if found is None else shorten(found.remedy),
    )


def _ending(status: int) -> str:
    """How a hook ended, from wait4(2)'s word for it."""
    code = os.waitstatus_to_exitcode(status)
    return f"signal {-code} ended it" if code < 0 else f"exit status {code}"


def shorten(words: str) -> str:
    """*words* on one line, the middle left out when they are very many."""
    if len(words) > _MOST_WORDS:
        half = _MOST_WORDS // 2
        left = len(words) - 2 * half
        words = f"{words[:half]} … {left} more characters … {words[-half:]}"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in words)


def call_name(number: int) -> str:
    """The name of a system call, ``""`` for 0 or one that is not known."""
    if not number:
        return ""
    from newroot.linux.syscalls import name_of

    return name_of(number) or ""
