"""Containers whose ids match a regular expression, as crun's ``--regex`` finds them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.container.oci_state import OciContainer


def matching(root: str, pattern: str) -> list[OciContainer]:
    """The containers below *root* whose ids have *pattern* in them.  Raises UsageError."""
    import re

    from newroot.container.oci_state import load_all
    from newroot.errors import UsageError

    try:
        wanted = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"not a regular expression: {pattern!r:.80}: {error}") from None
    return [container for container in load_all(root) if wanted.search(container.id)]
