"""Branches: a container's root, as it is now, becomes another's too, or is kept to go back to.

The upper of a container that does not run is sealed: it becomes a snapshot, a lower directory that
several may stand on, and its container gets a fresh one.  That is a rename, whatever the upper
holds.  While a container runs its overlay writes into its upper, and no call takes that from it: so
it is frozen and its upper copied (docs/decisions/0034-branches.md).

A container's record says what it stands on, and is replaced in one step.  A death before that has
changed nothing; after it, ``settle()`` does what is left, under the container's lock, before
anybody uses the container.
"""

from __future__ import annotations

import os

from newroot.container.snapshots import SnapshotStore
from newroot.container.sweep import take
from newroot.errors import (
    AlreadyExists,
    NotFound,
    StateError,
    UnsupportedError,
    UsageError,
    WrongStatus,
)
from newroot.linux.trees import remove_tree
from newroot.record import record, replace
from newroot.rootfs.uppers import fresh_upper, is_untouched

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from newroot.container.settings import Settings
    from newroot.container.source import Source
    from newroot.container.storage import Claim, ContainerStorage

    _Made = TypeVar("_Made")

_PATIENCE_S = 10.0  #: a start takes milliseconds, unless the host is overburdened
_PAUSE_S = 0.005
_TAG = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
_LONGEST_TAG = 128


@record
class Copied:
    """What it took to branch a container that runs."""

    container: str  #: its id
    size_bytes: int  #: that were copied; what the file system shares is not among them
    frozen_s: float  #: as long it did not run


@record
class Snapshot:
    """A state of a container's root that was kept."""

    container: str  #: its id
    tag: str
    id: str  #: of the sealed upper
    created: float  #: seconds since the epoch


@record
class _Container:
    """One that has a root of its own on the disk, and what its record says of it."""

    id: str
    record: dict[str, Any]
    settings: Settings
    source: Source

    @property
    def lower(self) -> tuple[str, ...]:
        return self.source.lower

    @property
    def snapshots(self) -> tuple[Snapshot, ...]:
        return snapshots_in(self.id, self.record)


# ── fork ─────────────────────────────────────────────────────────────────────────────────────


class _Again(Exception):
    """It began or ended just then: once more.  Never leaves this module."""


def fork(
    storage: ContainerStorage,
    container_id: str,
    *,
    name: str | None = None,
    on_copied: Callable[[Copied], object] | None = None,
) -> str:
    """Make a container whose root is what the other's is now; return its id.

    Its settings are the other's; anonymous volumes it gets of its own, as at a first start.
    *on_copied* is told when the other runs.  Raises NotFound, AlreadyExists, StateError for one
    whose upper is not on the disk; both are then as they were.
    """
    return _until_it_holds_still(lambda: _fork(storage, container_id, name, on_copied))


def _fork(
    storage: ContainerStorage,
    container_id: str,
    name: str | None,
    on_copied: Callable[[Copied], object] | None,
) -> str:
    from newroot.container.mounts import find_sources
    from newroot.container.records import write_record
    from newroot.rootfs.volumes import VolumeStore

    store = SnapshotStore(storage.root)
    with store.making():
        claim = take(storage, container_id, visit=True)
        try:
            found = _read(storage, container_id)
            settings = _settings_for(found, name)
            new = storage.claim(
                name=name,
                remove=settings.remove,
                making=True,
                source=found.source.name,
                lower=list(found.lower),
                command=found.record.get("command") or [],
            )
            try:
                source = found.source
                upper = f"{new.directory}/upper"
                os.makedirs(new.directory, mode=0o711, exist_ok=True)
                if claim is None:
                    _copy(storage, found, upper, on_copied)
                else:
                    source = _seal(storage, store, claim, found)
                    ids, _ = store.split(source.lower)
                    if ids:
                        fresh_upper(upper, store.path(ids[0]))
                command = tuple(map(str, found.record.get("command") or ()))
                sourced = find_sources(settings, source, VolumeStore(storage.root))
                try:
                    write_record(storage, new, settings, source, command, sourced, started=None)
                finally:
                    for fd in sourced.holds:
                        os.close(fd)
                config = storage.config(container_id)
                if config:  # what is mounted where, for diff: the sealed upper has the places
                    storage.write(new.id, "config.json", config)
            except BaseException:
                new.release(remove=True)
                raise
            new.release(remove=False)
        finally:
            if claim is not None:
                claim.release(remove=False)
    return new.id


def _settings_for(found: _Container, name: str | None) -> Settings:
    """The other's, but for its name and the names of its anonymous volumes."""
    anonymous = found.record.get("volumes") or ()
    mounts = tuple(
        replace(mount, source=None)
        if mount.type == "volume" and mount.source in anonymous
        else mount
        for mount in found.settings.mounts
    )
    return replace(found.settings, name=name, mounts=mounts)


# ── snapshot and rollback ────────────────────────────────────────────────────────────────────


def snapshot(
    storage: ContainerStorage,
    container_id: str,
    tag: str | None = None,
    *,
    on_copied: Callable[[Copied], object] | None = None,
) -> Snapshot:
    """Keep a container's root as it is now, under *tag*, or the next number.

    Raises NotFound, AlreadyExists when it has that tag, StateError as ``fork()``.
    """
    if tag is not None:
        check_tag(tag)
    return _until_it_holds_still(lambda: _snapshot(storage, container_id, tag, on_copied))


def _snapshot(
    storage: ContainerStorage,
    container_id: str,
    tag: str | None,
    on_copied: Callable[[Copied], object] | None,
) -> Snapshot:
    store = SnapshotStore(storage.root)
    with store.making():
        claim = take(storage, container_id, visit=True)
        try:
            found = _read(storage, container_id)
            _check_stays(found)
            if tag is not None and any(tag == each.tag for each in found.snapshots):
                raise AlreadyExists(
                    f"container {_called(found)} has a snapshot {tag}",
                    hint=f"newroot snapshots rm {_called(found)} {tag}, or choose another tag",
                )
            tagged = _Tagged(container_id, tag)
            if claim is not None:
                _seal(storage, store, claim, found, tagged)
            else:
                made = store.new(lower=found.lower, container=found.id, name=found.record["name"])
                _copy(storage, found, store.path(made.id), on_copied)
                storage.change_record(found.id, lambda now: tagged.added(now, made.id))
        finally:
            if claim is not None:
                claim.release(remove=False)
    assert tagged.made is not None
    return tagged.made


class _Tagged:
    """A tag on its way into a record."""

    def __init__(self, container_id: str, tag: str | None) -> None:
        self._container = container_id
        self._tag = tag
        self.made: Snapshot | None = None

    def added(self, document: dict[str, Any], snapshot_id: str) -> dict[str, Any]:
        from time import time

        taken = {each.tag for each in snapshots_in(self._container, document)}
        tag = self._tag
        if tag is None:
            tag = next(str(n) for n in range(1, len(taken) + 2) if str(n) not in taken)
        elif tag in taken:
            raise AlreadyExists(f"container {self._container[:12]} has a snapshot {tag}")
        now = time()
        entry = {"tag": tag, "id": snapshot_id, "created": now}
        self.made = Snapshot(container=self._container, tag=tag, id=snapshot_id, created=now)
        return {**document, "snapshots": [*(document.get("snapshots") or ()), entry]}


def rollback(storage: ContainerStorage, container_id: str, tag: str) -> None:
    """Make a container's root what it was at the snapshot *tag*; what came later stays as its own
    snapshots, and what was written since the last of them is gone.

    Raises NotFound, WrongStatus when it runs; it is then as it was.
    """
    store = SnapshotStore(storage.root)
    with store.making():
        claim = take(storage, container_id, visit=True)
        if claim is None:
            raise WrongStatus(
                f"roll container {container_id[:12]} back: it is running",
                status="running",
                wanted="exited",
                hint="newroot stop it first, and start it again afterwards",
            )
        try:
            found = _read(storage, container_id)
            lower = _lower_of(store, _tagged(found, tag))
            storage.change_record(
                container_id, lambda now: {**standing_on(now, lower), "drop": True}
            )
            settle(storage, claim)
        finally:
            claim.release(remove=False)
    collect(storage)


def forget_snapshot(storage: ContainerStorage, container_id: str, tag: str) -> None:
    """Take a tag away; what was kept goes unless somebody stands on it.  Raises NotFound."""
    _tagged(_read(storage, container_id), tag)

    def without(now: dict[str, Any]) -> dict[str, Any]:
        kept = [each for each in now.get("snapshots") or () if each.get("tag") != tag]
        return {**now, "snapshots": kept}

    storage.change_record(container_id, without)
    collect(storage)


def check_tag(tag: str) -> str:
    """Return *tag* when it can be one: letters, digits, ``_.-``, not first ``.`` or ``-``."""
    if tag and len(tag) <= _LONGEST_TAG and _TAG.issuperset(tag) and tag[0] not in ".-":
        return tag
    raise UsageError(
        f"invalid tag {tag!r}", hint="letters, digits, and '_', '.', '-' after the first"
    )


def snapshots_in(container_id: str, document: dict[str, Any]) -> tuple[Snapshot, ...]:
    """The snapshots that a container's record names, the oldest first."""
    said = document.get("snapshots")
    return tuple(
        Snapshot(
            container=container_id,
            tag=str(each.get("tag")),
            id=str(each.get("id")),
            created=float(each.get("created") or 0),
        )
        for each in (said if isinstance(said, list) else ())
        if isinstance(each, dict)
    )


def _tagged(found: _Container, tag: str) -> Snapshot:
    for each in found.snapshots:
        if each.tag == tag:
            return each
    raise NotFound(
        f"container {_called(found)} has no snapshot {tag}",
        hint=f"newroot snapshots {_called(found)} shows those it has",
    )


def _lower_of(store: SnapshotStore, wanted: Snapshot) -> tuple[str, ...]:
    try:
        return store.lower(wanted.id)
    except LookupError:
        raise NotFound(
            f"the files of snapshot {wanted.tag} are gone", hint="newroot doctor"
        ) from None


# ── sealing ──────────────────────────────────────────────────────────────────────────────────


def _seal(
    storage: ContainerStorage,
    store: SnapshotStore,
    claim: Claim,
    found: _Container,
    tagged: _Tagged | None = None,
) -> Source:
    """Make a snapshot of an upper, unless nothing was written since the last; return what the
    container then stands on."""
    upper = f"{claim.directory}/upper"
    ids, _ = store.split(found.lower)
    if is_untouched(upper, store.path(ids[0]) if ids else None) and (ids or tagged is None):
        if tagged is not None:
            storage.change_record(claim.id, lambda now: tagged.added(now, ids[0]))
        return found.source
    if not os.path.isdir(upper):
        claim.make_upper()
    _check_same_disk(upper, store.directory)
    made = store.new(lower=found.lower, container=found.id, name=found.record.get("name"))
    lower = (store.path(made.id), *found.lower)

    def change(now: dict[str, Any]) -> dict[str, Any]:
        changed = standing_on(now, lower)
        return changed if tagged is None else tagged.added(changed, made.id)

    storage.change_record(claim.id, change)
    settle(storage, claim)
    return replace(found.source, lower=lower)


def standing_on(document: dict[str, Any], lower: tuple[str, ...]) -> dict[str, Any]:
    """A container's record once it stands on *lower*."""
    source = {**(document.get("from") or {}), "lower": list(lower)}
    return {**document, "lower": list(lower), "from": source}


def _check_same_disk(upper: str, snapshots: str) -> None:
    if os.stat(upper).st_dev != os.stat(snapshots).st_dev:
        raise StateError(
            f"seal {upper}: it is not on the file system of {snapshots}",
            hint="what is below newroot's root must be on one file system",
        )


def settle(storage: ContainerStorage, claim: Claim) -> None:
    """Do what the record of a container says is done; the caller has its lock.

    May be called again after a death at any point.
    """
    document = storage.record(claim.id)
    lower: list[str] = document.get("lower") or []
    upper = f"{claim.directory}/upper"
    ids, _ = SnapshotStore(storage.root).split(lower)
    top = lower[0] if ids else None
    dropped = f"{claim.directory}/dropped"
    if document.get("drop"):
        # The record is the last to forget: until then whatever is in the upper is of before.
        remove_tree(dropped)
        if os.path.isdir(upper):
            os.rename(upper, dropped)
        storage.change_record(claim.id, lambda now: {key: now[key] for key in now if key != "drop"})
    elif top is not None and not os.path.isdir(top) and os.path.isdir(upper):
        os.rename(upper, top)
    if top is not None and os.path.isdir(top) and os.path.isdir(claim.directory):
        fresh_upper(upper, top)
    if os.path.isdir(dropped):
        remove_tree(dropped)


def settled(storage: ContainerStorage, container_id: str) -> None:
    """See to it that a container's files are as its record says, for somebody who reads them."""
    document = storage.record(container_id)
    ids, _ = SnapshotStore(storage.root).split(document.get("lower") or ())
    upper = f"{storage.directory(container_id)}/upper"
    is_whole = not ids or (os.path.isdir(upper) and os.path.isdir(document["lower"][0]))
    if document.get("drop") or not is_whole:
        claim = take(storage, container_id, visit=True)
        if claim is not None:
            claim.release(remove=False)


# ── copying ──────────────────────────────────────────────────────────────────────────────────


def _until_it_holds_still(branch: Callable[[], _Made]) -> _Made:
    from time import monotonic, sleep

    deadline = monotonic() + _PATIENCE_S
    while True:
        try:
            return branch()
        except _Again as again:
            if monotonic() > deadline:
                raise again.args[0] from None
        sleep(_PAUSE_S)


def _copy(
    storage: ContainerStorage,
    found: _Container,
    destination: str,
    on_copied: Callable[[Copied], object] | None,
) -> None:
    from time import monotonic

    from newroot.container.held_still import HeldStill
    from newroot.rootfs.upper_copy import copy_upper

    directory, first = storage.directory(found.id), _first_process(storage, found.id)
    try:
        with HeldStill(storage, found.id, must=True):
            began = monotonic()
            size = copy_upper(f"{directory}/upper", destination)
            took = monotonic() - began
            still = _first_process(storage, found.id)
    except (UnsupportedError, FileNotFoundError) as error:
        _check_is_there(found, directory)
        if first is None or first != _first_process(storage, found.id):
            raise _Again(error) from error
        raise
    _check_is_there(found, directory)  # its removal may have begun before the copy had ended
    if first is None or first != still:
        raise _Again(WrongStatus(
            f"branch container {_called(found)}: it begins and ends all the time",
            status="restarting", wanted="running or exited", hint="stop it first",
        ))  # fmt: skip
    if on_copied is not None:
        on_copied(Copied(container=found.id, size_bytes=size, frozen_s=took))


def _first_process(storage: ContainerStorage, container_id: str) -> tuple[int, int] | None:
    """Which process it is and when that began; None while there is none that lives."""
    from newroot.linux.processes import start_ticks

    state = storage.state(container_id)
    pid = state.get("pid")
    began = start_ticks(pid) if isinstance(pid, int) else None
    return None if pid is None or began is None or began != state["startTicks"] else (pid, began)


def _check_is_there(found: _Container, directory: str) -> None:
    if not os.path.isdir(directory):
        raise NotFound(f"container {_called(found)} was removed meanwhile")


# ── what is needed ───────────────────────────────────────────────────────────────────────────


def needed(storage: ContainerStorage) -> set[str] | None:
    """The ids of the snapshots that a container stands on or has tagged, and what those stand on.

    None when a record cannot be read: nobody knows what it says.
    """
    store = SnapshotStore(storage.root)
    found: set[str] = set()
    for container_id in storage.known():
        document = storage.record(container_id)
        if not document and os.path.exists(f"{storage.directory(container_id)}/record.json"):
            return None
        for lower in (document.get("lower"), storage.state(container_id).get("lower")):
            found.update(store.split(lower or ())[0])
        found.update(each.id for each in snapshots_in(container_id, document))
    for snapshot_id in tuple(found):
        sealed = store.find(snapshot_id)
        if sealed is not None:
            found.update(sealed.below)
    return found


def collect(storage: ContainerStorage) -> list[str]:
    """Remove the snapshots that nobody needs; return their ids."""
    return SnapshotStore(storage.root).collect(lambda: needed(storage))


def collect_below(storage: ContainerStorage, document: dict[str, Any]) -> None:
    """The same after the removal of a container, if its record names any."""
    ids, _ = SnapshotStore(storage.root).split(document.get("lower") or ())
    if ids or document.get("snapshots"):
        collect(storage)


# ── reading ──────────────────────────────────────────────────────────────────────────────────


def _read(storage: ContainerStorage, container_id: str) -> _Container:
    from newroot.container.kept_settings import read_settings, read_source

    document = storage.record(container_id)
    if not document:
        raise StateError(
            f"branch container {container_id[:12]}: it has no record",
            hint="one of run --rm in the foreground is forgotten at its end; leave --rm out",
        )
    settings = read_settings(document.get("settings") or {})
    source = read_source(document.get("from") or {})
    if not source.lower or source.throwaway or settings.upper != "disk":
        raise StateError(
            f"branch container {container_id[:12]}: it has no upper on the disk",
            hint="one that is thrown away at its end keeps what it writes in memory, and --rootfs "
            "DIR writes into DIR itself",
        )
    return _Container(id=container_id, record=document, settings=settings, source=source)


def _check_stays(found: _Container) -> None:
    if found.settings.remove:
        raise StateError(
            f"keep a snapshot of container {_called(found)}: it goes when it has ended",
            hint="newroot fork makes a container of its own; or start it without --rm",
        )


def _called(found: _Container) -> str:
    return str(found.record.get("name") or found.id[:12])
