"""Which volumes ``volume ls`` shows and ``volume prune`` takes: Docker's ``--filter NAME=VALUE``.

Of one name several values are alternatives, but for labels, which must all be there (moby,
volume/service/convert.go).
"""

from __future__ import annotations

from newroot.errors import UsageError

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
    tests: dict[str, list[Test]] = {}
    for text in filters:
        name, equals, value = text.partition("=")  # label!=x too: its name is then label!
        if not equals or name not in names:
            raise UsageError(
                f"invalid filter {text!r}", hint=f"one of {', '.join(names)}, '=' and a value"
            )
        tests.setdefault(name, []).append(_FILTERS[name](store, value))
    how = [(all if name in FOR_PRUNE else any, each) for name, each in tests.items()]
    return lambda volume: all(rule(test(volume) for test in each) for rule, each in how)


def _label(store: VolumeStore, value: str) -> Test:
    name, equals, text = value.partition("=")

    def test(volume: Volume) -> bool:
        labels = dict(volume.labels)
        return name in labels and (not equals or labels[name] == text)

    return test


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
