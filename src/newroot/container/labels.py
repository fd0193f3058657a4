"""Labels: what a user wants remembered of a container, as ``NAME=VALUE``."""

from __future__ import annotations

from newroot.errors import NotFound, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def read_labels(files: Sequence[str], labels: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The labels in *files*, one a line, and then *labels*; of the same name the last counts.

    Lines that are empty or begin with # are passed over.  Raises UsageError, NotFound.
    """
    found: dict[str, str] = {}
    for path in files:
        try:
            with open(path, encoding="utf-8") as file:
                lines = [line.strip() for line in file]
        except OSError as error:
            raise NotFound(f"label file {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise UsageError(f"label file {path}: not UTF-8, at byte {error.start}") from error
        found.update(_label(line) for line in lines if line and not line.startswith("#"))
    found.update(map(_label, labels))
    return tuple(found.items())


def _label(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not name:
        raise UsageError(f"invalid label {text!r}", hint="NAME=VALUE")
    return name, value
