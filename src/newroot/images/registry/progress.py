"""What a pull or a push tells of itself while it works.

The callback is called from the threads that work, by one at a time, many times a second: it should
be quick, and whatever it raises ends the work.
"""

from __future__ import annotations

import threading

from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    OnProgress = Callable[["Progress"], object]

RESOLVED = "resolved"  #: the manifest is known: *name* is the place, *digest* the manifest's
WAITING = "waiting"
DOWNLOADING = "downloading"
UNPACKING = "unpacking"  #: all bytes are here
UPLOADING = "uploading"
EXISTS = "exists"  #: there was nothing to do
MOUNTED = "mounted"  #: the registry had it in another repository
DONE = "done"


@record
class Progress:
    """How far one layer is, or another part of the image."""

    phase: str  #: one of this module's words
    digest: str  #: of the blob
    done_bytes: int = 0
    total_bytes: int = 0
    name: str = ""  #: for ``resolved``: from where


class Teller:
    """Hands progress on, by one thread at a time."""

    def __init__(self, on_progress: OnProgress | None) -> None:
        self._on_progress = on_progress
        self._lock = threading.Lock()

    def tell(
        self, phase: str, digest: str, done_bytes: int = 0, total_bytes: int = 0, *, name: str = ""
    ) -> None:
        if self._on_progress is None:
            return
        with self._lock:
            self._on_progress(
                Progress(
                    phase=phase,
                    digest=digest,
                    done_bytes=done_bytes,
                    total_bytes=total_bytes,
                    name=name,
                )
            )
