"""Which images are meant: ``--filter`` of ``images`` and ``image prune``, in Docker's words.

``dangling=true|false``, ``label=NAME[=VALUE]``, ``label!=…``, ``reference=PATTERN``,
``before=IMAGE``, ``since=IMAGE``, ``until=TIME``: filters of one name are alternatives, and all
names have to hold.
"""

from __future__ import annotations

from newroot.errors import UsageError
from newroot.filters import has_label, values_by_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from newroot.images.store import Image, ImageStore

    Test = Callable[[Image], bool]


def chosen(store: ImageStore, images: Iterable[Image], filters: Sequence[str]) -> list[Image]:
    """Those of *images* that *filters* let through.  Raises UsageError for what is no filter."""
    tests = {
        name: [_FILTERS[name](store, value) for value in values]
        for name, values in values_by_name(filters, _FILTERS).items()
    }
    # Labels are not alternatives: moby, filters.MatchKVList.
    alternatives = (any if name not in ("label", "label!") else all for name in tests)
    checks = list(zip(alternatives, tests.values(), strict=True))
    return [image for image in images if all(how(t(image) for t in ts) for how, ts in checks)]


def is_meant(image: Image, pattern: str) -> bool:
    """Whether ``REPOSITORY[:TAG]``, in the short or the whole form, means *image*."""
    from fnmatch import fnmatchcase

    from newroot.images.reference import familiar

    names = {image.reference, familiar(image.reference)} if image.reference else set()
    names |= {name.rpartition(":")[0] for name in names}
    return any(fnmatchcase(name, pattern) for name in names)


def _dangling(store: ImageStore, value: str) -> Test:
    if value not in ("true", "false", "1", "0"):
        raise UsageError(f"invalid filter dangling={value}", hint="true or false")
    wanted = value in ("true", "1")
    return lambda image: (not image.reference) == wanted


def _label(store: ImageStore, value: str) -> Test:
    def test(image: Image) -> bool:
        labels: Any = (image.config.get("config") or {}).get("Labels")
        return has_label(labels if isinstance(labels, dict) else {}, value)

    return test


def _not_label(store: ImageStore, value: str) -> Test:
    test = _label(store, value)
    return lambda image: not test(image)


def _reference(store: ImageStore, value: str) -> Test:
    return lambda image: is_meant(image, value)


def _before(store: ImageStore, value: str) -> Test:
    limit = store.get(value).created or ""
    return lambda image: (image.created or "") < limit


def _since(store: ImageStore, value: str) -> Test:
    limit = store.get(value).created or ""
    return lambda image: (image.created or "") > limit


def _until(store: ImageStore, value: str) -> Test:
    limit = _moment(value)

    def test(image: Image) -> bool:
        try:
            return _read_time(image.created or "") < limit
        except ValueError:
            return False

    return test


def _moment(value: str) -> float:
    """A time: RFC 3339, seconds since the epoch, or how long ago, as ``24h``."""
    from time import time

    from newroot.images.instructions import duration

    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return _read_time(value)
    except ValueError:
        return time() - duration(value) / 1e9


def _read_time(text: str) -> float:
    from datetime import UTC, datetime

    then = datetime.fromisoformat(text)
    return (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp()


_FILTERS: dict[str, Callable[[ImageStore, str], Test]] = {
    "dangling": _dangling,
    "label": _label,
    "label!": _not_label,
    "reference": _reference,
    "before": _before,
    "since": _since,
    "until": _until,
}
