"""newroot: give any process a new root.

    import newroot
    result = newroot.run("busybox", ["echo", "hi"], capture_output=True, text=True)

The door only: each public name is loaded when it is first used, for importing newroot should cost
nothing.  Inside the house nobody imports this module.
"""

from __future__ import annotations

import _thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from newroot.container.branch import Copied, Snapshot
    from newroot.container.branch_tree import Branch
    from newroot.container.pipes import DEVNULL, PIPE, STDOUT
    from newroot.container.process import Process, Result
    from newroot.container.records import Container
    from newroot.container.settings import Device, Mount, Settings
    from newroot.engine import Engine
    from newroot.errors import (
        AlreadyExists,
        BlobNotFound,
        BugError,
        DigestMismatch,
        ImageError,
        NewrootError,
        NotFound,
        RegistryError,
        SizeMismatch,
        SpecError,
        StateError,
        StepError,
        SyscallError,
        UnsafeEntry,
        UnsupportedError,
        UsageError,
        WrongStatus,
    )
    from newroot.images.history import History
    from newroot.images.prune import Pruned
    from newroot.images.store import Image
    from newroot.version import VERSION as __version__

_HOMES = {
    "container.branch": "Copied Snapshot",
    "container.branch_tree": "Branch",
    "container.pipes": "DEVNULL PIPE STDOUT",
    "container.process": "Process Result",
    "container.records": "Container",
    "container.settings": "Device Mount Settings",
    "engine": "Engine",
    "errors": (
        "AlreadyExists BlobNotFound BugError DigestMismatch ImageError NewrootError NotFound "
        "RegistryError SizeMismatch SpecError StateError StepError SyscallError UnsafeEntry "
        "UnsupportedError UsageError WrongStatus"
    ),
    "images.history": "History",
    "images.prune": "Pruned",
    "images.store": "Image",
}
_ROOM_OF = {name: room for room, names in _HOMES.items() for name in names.split()}

__all__ = [
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "AlreadyExists",
    "BlobNotFound",
    "Branch",
    "BugError",
    "Container",
    "Copied",
    "Device",
    "DigestMismatch",
    "Engine",
    "History",
    "Image",
    "ImageError",
    "Mount",
    "NewrootError",
    "NotFound",
    "Process",
    "Pruned",
    "RegistryError",
    "Result",
    "Settings",
    "SizeMismatch",
    "Snapshot",
    "SpecError",
    "StateError",
    "StepError",
    "SyscallError",
    "UnsafeEntry",
    "UnsupportedError",
    "UsageError",
    "WrongStatus",
    "__version__",
    "popen",
    "run",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "__version__":
        value = import_module("newroot.version").VERSION
    elif name == "observe":
        value = import_module("newroot.observe")  # a room of its own, with names of its own
    elif name in _ROOM_OF:
        value = getattr(import_module(f"newroot.{_ROOM_OF[name]}"), name)
    else:
        raise AttributeError(f"module 'newroot' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


_engine: Engine | None = None
_engine_lock = _thread.allocate_lock()


def _default_engine() -> Engine:
    """The engine of the functions below: made when first needed, closed when Python ends."""
    global _engine
    with _engine_lock:
        if _engine is None:
            import atexit

            from newroot.engine import Engine

            _engine = Engine()
            atexit.register(_engine.close)
        return _engine


def run(image: str | None = None, command: Sequence[str] = (), **arguments: Any) -> Result:
    """Run a command in a container of its own and return how it ended: ``Engine.run()``."""
    return _default_engine().run(image, command, **arguments)


def popen(image: str | None = None, command: Sequence[str] = (), **arguments: Any) -> Process:
    """Start a command in a container of its own: ``Engine.popen()``."""
    return _default_engine().popen(image, command, **arguments)
