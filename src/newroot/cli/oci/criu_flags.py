"""What ``checkpoint`` and ``restore`` have in common: their flags, and how those are read."""

from __future__ import annotations

import os

from newroot.cli.flags import Flag
from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.container.oci_checkpoint import CriuWishes

#: Flags that are criu's own options, word for word.
PLAIN = {
    "tcp-established": "Also with TCP connections that are open",
    "ext-unix-sk": "Also with Unix sockets that lead outside",
    "shell-job": "Also with a terminal of the caller's",
    "file-locks": "Also with locks on files",
    "auto-dedup": "Drop from a parent what is newer here",
}
FLAGS = (
    Flag(
        name="image-path", metavar="DIR", help="The checkpoint's directory, by default checkpoint"
    ),
    Flag(name="work-path", metavar="DIR", help="Where criu's logs go, by default beside it"),
    *(Flag(name=name, help=text) for name, text in PLAIN.items()),
    Flag(name="lazy-pages", help="Memory follows when it is asked for: userfaultfd(2)"),
    Flag(
        name="manage-cgroups-mode",
        metavar="MODE",
        choices=("soft", "full", "strict", "ignore"),
        help="What of its cgroups belongs to it",
    ),
    Flag(name="empty-ns", metavar="KIND", repeat=True, help="Leave out what is in a namespace"),
)


def read(parsed: Parsed, **more: object) -> CriuWishes:
    """How it is to be done.  Raises UsageError."""
    from newroot.container.oci_checkpoint import CLONE_NEWNET, CriuWishes

    kinds = parsed.texts("empty_ns")
    for kind in kinds:
        if kind != "network":
            raise UsageError(f"namespace {kind} is not supported", hint="--empty-ns network")
    work = parsed.text("work_path")
    flags = [name.replace("-", "_") for name in (*PLAIN, *OWN) if _is_set(parsed, name)]
    wishes: dict[str, object] = {
        "images": os.path.abspath(parsed.text("image_path") or "checkpoint"),
        "work": os.path.abspath(work) if work else None,
        "cgroups": parsed.text("manage_cgroups_mode") or "soft",
        "lazy_pages": parsed.is_set("lazy_pages"),
        "empty_ns": CLONE_NEWNET if kinds else 0,
        "flags": tuple(flags),
        **more,
    }
    return CriuWishes(**wishes)  # type: ignore[arg-type]


#: Such flags that only one of the two has.
OWN = ("tcp-skip-in-flight", "link-remap", "tcp-close")


def _is_set(parsed: Parsed, name: str) -> bool:
    return bool(parsed.flags.get(name.replace("-", "_")))
