"""The new root as a plan makes it, looked at from outside, once a step has failed.

The container and its mounts are gone by then; what they were made from is still there: the layers,
the directories that were bound.  So a symlink in an image, or a program's missing loader, can be
named.  File systems of the kernel's own (proc, tmpfs) are seen as empty, and symlinks are not
followed from one mount into another: a look that finds nothing says nothing.
"""

from __future__ import annotations

import os
import stat

from newroot.linux.merged import MergedView
from newroot.linux.paths import EROFS_SUFFIX, reopen
from newroot.plan import steps as s
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


@record
class Place:
    """One mount of the new root."""

    target: str  #: below the new root, cleaned
    layers: tuple[str, ...]  #: directories of the host, topmost first; empty: nothing to look at
    within: str = "/"  #: the file that is bound, below its directory; or the root of *layers*
    flags: tuple[str, ...] = ()
    source: str = ""  #: for people


class RootView:
    """What the steps before *count* put into the new root."""

    def __init__(self, plan: s.Plan, count: int) -> None:
        done = plan.steps[:count]
        roots = [step.path for step in done if isinstance(step, s.UseRoot)]
        self.places: tuple[Place, ...] = (
            *_root_places(done, roots[-1] if roots else "/"),
            *(place for step in done for place in _places_below(step)),
        )

    def place_of(self, path: str) -> Place | None:
        """The mount that *path* is in, by its name alone."""
        clean = os.path.normpath(f"/{path}").replace("//", "/")
        found = None
        for place in self.places:  # a later one hides an earlier one
            if place.target in ("/", clean) or clean.startswith(f"{place.target}/"):
                found = place
        return found

    def stat(self, path: str, *, follow: bool = True) -> os.stat_result | None:
        """What is at *path*; None where there is nothing, or nothing can be seen."""
        for view, inner in self._look(path):
            return view.stat(inner, follow=follow)
        return None

    def readlink(self, path: str) -> str | None:
        """The text of the symlink at *path*; None where there is none."""
        for view, inner in self._look(path):
            return view.readlink(inner)
        return None

    def head(self, path: str, size: int = 4096) -> bytes | None:
        """The first bytes of the regular file at *path*; None where there is none."""
        for view, inner in self._look(path):
            fd = view.open(inner)
            if fd is None:
                return None
            try:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    return None
                with open(reopen(fd, os.O_RDONLY), "rb", buffering=0) as file:
                    return file.read(size)
            finally:
                os.close(fd)
        return None

    def first_link(self, path: str) -> tuple[str, str] | None:
        """The first symlink on the way to *path*, and what it says."""
        prefix = ""
        for name in path.strip("/").split("/"):
            prefix = f"{prefix}/{name}"
            text = self.readlink(prefix)
            if text is not None:
                return prefix, text
        return None

    def first_file(self, path: str) -> str | None:
        """The first name on the way to *path* that is there and is no directory."""
        prefix = ""
        for name in path.strip("/").split("/"):
            prefix = f"{prefix}/{name}"
            found = self.stat(prefix)
            if found is not None and not stat.S_ISDIR(found.st_mode):
                return prefix
        return None

    def _look(self, path: str) -> Iterator[tuple[MergedView, str]]:
        place = self.place_of(path)
        if place is None or not place.layers:
            return
        clean = os.path.normpath(f"/{path}").replace("//", "/")
        below = clean[len(place.target) :] if place.target != "/" else clean
        with MergedView(place.layers) as view:
            yield view, os.path.normpath(f"{place.within}/{below}").replace("//", "/")


def _root_places(done: tuple[s.Step, ...], at: str) -> tuple[Place, ...]:
    """What is mounted where the new root is; a plain directory if nothing is."""
    for step in reversed(done):
        if isinstance(step, s.MountOverlay) and step.target == at:
            upper = (step.upper,) if step.upper else ()
            files = {m.target: m.source for m in done if isinstance(m, s.MountFs) and m.on_host}
            lower = (files.get(path, path) for path in step.lower)  # a layer may be a file
            return (Place(target="/", layers=_there((*upper, *lower)), flags=step.flags),)
        if isinstance(step, s.BindMount) and step.on_host and step.target == at:
            return (_bound(step, "/"),)
        if isinstance(step, s.MountFs) and step.on_host and step.target == at:
            return (Place(target="/", layers=(), flags=step.flags, source=step.type),)
    return (Place(target="/", layers=_there((at,)), source=at),)


def _places_below(step: s.Step) -> tuple[Place, ...]:
    if isinstance(step, s.BindMount) and not step.on_host:
        return (_bound(step, os.path.normpath(step.target)),)
    if isinstance(step, s.MountFs) and not step.on_host:
        target = os.path.normpath(step.target)
        return (Place(target=target, layers=(), flags=step.flags, source=step.type),)
    return ()


def _bound(step: s.BindMount, target: str) -> Place:
    source, within = step.source, "/"
    if not os.path.isdir(source):
        source, name = os.path.split(os.path.realpath(source))
        within = f"/{name}"
    return Place(
        target=target,
        layers=_there((source,)),
        within=within,
        flags=step.flags,
        source=step.source,
    )


def _there(layers: tuple[str, ...]) -> tuple[str, ...]:
    """Those that this process can open: an upper in the container's memory is gone with it."""
    return tuple(
        layer
        for layer in layers
        if os.access(layer, os.R_OK if layer.endswith(EROFS_SUFFIX) else os.R_OK | os.X_OK)
    )
