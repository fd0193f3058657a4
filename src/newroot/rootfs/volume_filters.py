"""Which volumes ``volume ls`` shows and ``volume prune`` takes: Docker's ``--filter NAME=VALUE``.

Of one name several values are alternatives, but for labels, which must all be there (moby,
volume/service/convert.go).
"""

from __future__ import annotations

from newroot.errors import UsageError
from newroot.filters import has_label, values_by_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from newroot.rootfs.volumes import Volume, VolumeStore

    Test = Callable[[Volume], bool]

FOR_PRUNE = ("label", "label!")
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


def chosen(
    store: VolumeStore, filters: Sequence[str], *, allowed: tuple[str, ...] = ()
) -> Callable[[Volume], bool]:
    """Whether *filters* let a volume through.  Raises UsageError for what is no filter."""
    names = allowed or tuple(_FILTERS)
    tests = {
        name: [_FILTERS[name](store, value) for value in values]
        for name, values in values_by_name(filters, names).items()
    }
    how = [(all if name in FOR_PRUNE else any, each) for name, each in tests.items()]
    return lambda volume: all(rule(test(volume) for test in each) for rule, each in how)


def _label(store: VolumeStore, value: str) -> Test:
    return lambda volume: has_label(dict(volume.labels), value)


def _not_label(store: VolumeStore, value: str) -> Test:
    test = _label(store, value)
    return lambda volume: not test(volume)


def _dangling(store: VolumeStore, value: str) -> Test:
    if value not in _TRUTH:
        raise UsageError(f"invalid filter dangling={value}", hint="true or false")
    wanted = _TRUTH[value]
    return lambda volume: store.is_used(volume.name) != wanted


_FILTERS: dict[str, Callable[[VolumeStore, str], Test]] = {
    "dangling": _dangling,
    "driver": lambda store, value: lambda volume: value == "local",
    "label": _label,
    "label!": _not_label,
    "name": lambda store, value: lambda volume: value in volume.name,
}
