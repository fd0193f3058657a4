"""What the kernel holds: namespaces, mount tables, starts.  Reading only, whatever the engine.

    from newroot import observe
    observe.namespaces()          every namespace of the host
    observe.mounts(pid)           what a process sees mounted, overlays opened, binds traced
    observe.diff(a, b)            what two processes see differently

Nothing here needs root, changes anything, or asks another program.  What the kernel does not show
is left out and said.  Each name is loaded when it is first used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from newroot.observe.difference import Difference, diff
    from newroot.observe.engines import EngineContainer
    from newroot.observe.overlay import Layer, Overlay
    from newroot.observe.process import Process, read_process
    from newroot.observe.scan import Census, Keeper, Namespace, census, namespaces
    from newroot.observe.table import Origin, SeenMount, mounts

_HOMES = {
    "scan": "Census Keeper Namespace census namespaces",
    "difference": "Difference diff",
    "engines": "EngineContainer",
    "process": "Process read_process",
    "overlay": "Layer Overlay",
    "table": "Origin SeenMount mounts",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "Census",
    "Difference",
    "EngineContainer",
    "Keeper",
    "Layer",
    "Namespace",
    "Origin",
    "Overlay",
    "Process",
    "SeenMount",
    "census",
    "diff",
    "mounts",
    "namespaces",
    "read_process",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOME_OF:
        raise AttributeError(f"module 'newroot.observe' has no attribute {name!r}")
    value = getattr(import_module(f"newroot.observe.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
