"""Helpers for tests of newroot, and for tests of programs that use newroot.

May look into every room below the engine; no room looks at this one.  Nothing here is imported by
a container's start, so these files are ordinary Python.
"""

from __future__ import annotations

from newroot.testing.host import HostState, host_state
from newroot.testing.needs import Missing, missing, needs, require
from newroot.testing.roots import tiny_root

__all__ = ["HostState", "Missing", "host_state", "missing", "needs", "require", "tiny_root"]
