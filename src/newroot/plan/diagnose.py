"""Why a step failed, and what to try: one row for each failure that people meet.

The kernel's errno is often one word for six causes.  A row says for which step, errno and words of
the kernel it holds, and gives the remedy.  Where the cause can only be told by looking at the host
(is it a mount point?  is the root an initramfs?), the row looks.
"""

from __future__ import annotations

from newroot.plan import steps as s


def hint_for(plan: s.Plan, step: s.Step, error: int, log: str, call: str) -> str | None:
    """The remedy for a failed step, or None when we know of none."""
    return None
