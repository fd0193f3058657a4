"""The version of newroot, and the one place where it is written.

meson.build reads it from here with sed, so keep the line as it is.  It is a module of its own
because ``importlib.metadata`` costs more than a whole container start.
"""

from __future__ import annotations

VERSION = "0.1.0"
