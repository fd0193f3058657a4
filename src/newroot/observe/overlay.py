"""An overlay's mount options opened into its directories, topmost first, and which layer each is.

The kernel shows the paths as they were given (fs/overlayfs/params.c, ovl_show_options): in
``lowerdir`` a colon or backslash of a name has a backslash before it, and what is below ``::``
holds data alone; layers that were added one by one (``lowerdir+``) stand so, as they are.  A
relative path was relative to the directory of whoever mounted it, and is left so.
"""

from __future__ import annotations

import os

from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from newroot.linux.mountinfo import Mount


@record
class Overlay:
    """The directories of one overlay, as paths of who mounted it."""

    lower: tuple[str, ...]  #: topmost first
    upper: str | None = None
    work: str | None = None
    data_only: tuple[str, ...] = ()


@record
class Layer:
    """The image layer that a directory is."""

    diff_id: str
    images: tuple[str, ...] = ()  #: names of the images that have it


def open_overlay(mount: Mount) -> Overlay:
    """The directories of the overlay *mount*."""
    lower: list[str] = []
    data: list[str] = []
    given: dict[str, str] = {}
    for option in mount.super_options:
        key, _, value = option.partition("=")
        if key == "lowerdir":
            layers, below = _split_data(value)
            lower += layers
            data += below
        elif key == "lowerdir+":
            lower.append(value)
        elif key == "datadir+":
            data.append(value)
        elif key in ("upperdir", "workdir"):
            given[key] = value
    return Overlay(
        lower=tuple(lower),
        upper=given.get("upperdir"),
        work=given.get("workdir"),
        data_only=tuple(data),
    )


def find_layer(path: str, layers: Mapping[str, Layer]) -> Layer | None:
    """Which of *layers*, by directory, *path* is, though it leads there by a link."""
    return layers.get(path) or layers.get(os.path.realpath(path))


def _split_data(value: str) -> tuple[list[str], list[str]]:
    parts = _split(value)
    if "" not in parts:
        return parts, []
    at = parts.index("")
    return parts[:at], [part for part in parts[at:] if part]


def _split(value: str) -> list[str]:
    """Cut at each colon that no backslash is before."""
    parts, part, escaped = [], "", False
    for char in value:
        if escaped or char not in "\\:":
            part, escaped = part + char, False
        elif char == "\\":
            escaped = True
        else:
            parts.append(part)
            part = ""
    return [*parts, part]
