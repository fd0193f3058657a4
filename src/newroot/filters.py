"""What ``--filter NAME=VALUE`` has in common, whatever is filtered.

The filters of containers, images, volumes, networks and events differ in what they test, and stay
with it.  How their words are read, and when a label is meant, is the same for all (moby,
api/types/filters).
"""

from __future__ import annotations

from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


def values_by_name(filters: Iterable[str], names: Collection[str]) -> dict[str, list[str]]:
    """The values of each filter's name, in their order.  Raises UsageError for what is no filter.

    ``label!=x`` is the value ``x`` of the name ``label!``.
    """
    found: dict[str, list[str]] = {}
    for text in filters:
        name, equals, value = text.partition("=")
        if not equals or name not in names:
            raise UsageError(
                f"invalid filter {text!r}", hint=f"one of {', '.join(names)}, '=' and a value"
            )
        found.setdefault(name, []).append(value)
    return found


def has_label(labels: Mapping[str, str], wanted: str) -> bool:
    """Whether *labels* have ``NAME``, or ``NAME=VALUE`` as it is."""
    name, equals, value = wanted.partition("=")
    return name in labels and (not equals or labels[name] == value)
