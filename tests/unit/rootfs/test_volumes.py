"""Volumes: made, held, filled and removed, by several at once and with a crash in between."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.errors import NotFound, UsageError, WrongStatus
from newroot.rootfs import copy_up
from newroot.rootfs.volumes import VolumeStore, check_volume_name


@pytest.fixture
def store(tmp_path: Path) -> VolumeStore:
    return VolumeStore(str(tmp_path / "root"))


def _together(count: int, action: Callable[[], object]) -> list[object]:
    """Call *action* from *count* threads that start at once; their results."""
    barrier, results = threading.Barrier(count), []

    def run() -> None:
        barrier.wait()
        try:
            results.append(action())
        except Exception as error:
            results.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


# --- made and listed -----------------------------------------------------------------------------


def test_a_store_without_volumes_has_no_directory_and_an_empty_list(store: VolumeStore) -> None:
    assert store.list() == ()
    assert store.prune(every=True) == ()
    assert not os.path.exists(store.directory)


def test_a_volume_has_docker_s_fields(store: VolumeStore) -> None:
    store.create("data", labels={"a": "b"})
    fields = store.get("data").inspect()

    assert list(fields) == [
        *("CreatedAt", "Driver", "Labels", "Mountpoint", "Name", "Options", "Scope", "Anonymous"),
    ]
    assert fields["Mountpoint"] == f"{store.directory}/data/data"
    assert fields["Labels"] == {"a": "b"}
    assert fields["CreatedAt"].endswith("Z")


def test_making_a_volume_that_is_there_changes_nothing(store: VolumeStore) -> None:
    first = store.create("data", labels={"a": "b"})
    Path(first.mountpoint, "file").write_text("x")

    assert store.create("data", labels={"a": "c"}) == first
    assert Path(first.mountpoint, "file").read_text() == "x"


def test_a_volume_without_a_name_is_anonymous(store: VolumeStore) -> None:
    volume = store.create()

    assert len(volume.name) == 64
    assert store.get(volume.name).anonymous
    assert not store.create("named").anonymous


def test_volumes_are_listed_by_name_without_what_is_half_made(store: VolumeStore) -> None:
    for name in ("bb", "aa", "cc"):
        store.create(name)
    os.mkdir(f"{store.directory}/.new-0123")

    assert [volume.name for volume in store.list()] == ["aa", "bb", "cc"]


def test_other_users_of_the_host_do_not_get_at_a_volume(store: VolumeStore) -> None:
    store.create("data")

    assert stat.S_IMODE(os.stat(store.directory).st_mode) == 0o700


def test_ten_who_make_one_volume_at_once_get_the_same(store: VolumeStore) -> None:
    made = _together(10, lambda: store.create("data").name)

    assert made == ["data"] * 10
    assert os.listdir(store.directory) == ["data"]


@pytest.mark.parametrize("name", ["", "a", ".", "..", ".x", "../x", "a/b", "/etc", "a\0b", "-a"])
def test_a_name_is_checked_before_it_becomes_a_path(store: VolumeStore, name: str) -> None:
    store.create("keep")
    for call in (store.create, store.get, store.hold, store.remove, store.data_path):
        with pytest.raises(UsageError):
            call(name)

    assert os.listdir(store.directory) == ["keep"]


@given(st.text())
def test_a_name_that_passes_is_one_component(name: str) -> None:
    try:
        check_volume_name(name)
    except UsageError:
        return
    assert os.path.basename(name) == name
    assert not name.startswith(".")


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", "\0" * 100])
def test_a_damaged_description_costs_neither_the_data_nor_the_list(
    store: VolumeStore, damage: str
) -> None:
    anonymous = store.create()
    Path(store.directory, anonymous.name, "volume.json").write_text(damage)

    assert [volume.name for volume in store.list()] == [anonymous.name]
    assert store.prune() == ()
    assert store.create(anonymous.name).mountpoint == anonymous.mountpoint


# --- held and removed ----------------------------------------------------------------------------


def test_holding_makes_a_missing_volume(store: VolumeStore) -> None:
    fd = store.hold("data")
    os.close(fd)

    assert store.get("data").name == "data"
    assert not store.get("data").anonymous


def test_a_held_volume_that_nobody_named_is_anonymous(store: VolumeStore) -> None:
    os.close(store.hold("data"))
    os.close(store.hold("ab12", anonymous=True))
    os.close(store.hold("data", anonymous=True))

    assert [volume.name for volume in store.list() if volume.anonymous] == ["ab12"]


def test_a_held_volume_is_not_removed_until_its_last_holder_lets_go(store: VolumeStore) -> None:
    first, second = store.hold("data"), store.hold("data")
    os.close(first)
    with pytest.raises(WrongStatus, match="volume data is in use"):
        store.remove("data")
    os.close(second)

    assert store.remove("data")
    assert os.listdir(store.directory) == []


def test_a_held_descriptor_is_not_left_to_children(store: VolumeStore) -> None:
    fd = store.hold("data")
    inheritable = os.get_inheritable(fd)
    os.close(fd)

    assert not inheritable


def test_removing_a_missing_volume_says_so_unless_forced(store: VolumeStore) -> None:
    with pytest.raises(NotFound):
        store.remove("data")
    assert not store.remove("data", missing_ok=True)


def test_a_removed_volume_s_links_lead_nowhere(store: VolumeStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("x")
    os.symlink(outside, Path(store.create("data").mountpoint, "link"))
    store.remove("data")

    assert (outside / "file").exists()


def test_who_holds_and_who_removes_at_once_never_share_a_dead_volume(store: VolumeStore) -> None:
    # A holder must end with the volume that has the name, whatever removers did meanwhile.
    def hold() -> bool:
        fd = store.hold("data")
        try:
            same = os.path.samestat(os.fstat(fd), os.stat(f"{store.directory}/data"))
            return same and os.path.isdir(store.data_path("data"))
        finally:
            os.close(fd)

    def act() -> object:
        held = [hold() for _ in range(25)]
        removed = [_try_to_remove(store) for _ in range(25)]
        return all(held) and None not in removed

    assert _together(4, act) == [True] * 4


def _try_to_remove(store: VolumeStore) -> bool:
    try:
        return store.remove("data", missing_ok=True)
    except WrongStatus:
        return False


def test_prune_takes_anonymous_volumes_that_nobody_holds(store: VolumeStore) -> None:
    store.create("named")
    unused, used = store.create().name, store.create().name
    fd = store.hold(used)

    assert store.prune() == (unused,)
    assert store.prune(every=True) == ("named",)
    os.close(fd)
    assert store.prune() == (used,)


def test_prune_sweeps_what_a_crash_left_but_not_what_is_being_made(store: VolumeStore) -> None:
    store.create("data")
    for name in (".new-dead", ".gone-dead", ".new-alive"):
        os.makedirs(f"{store.directory}/{name}/data")
    alive = os.open(f"{store.directory}/.new-alive", os.O_RDONLY)
    fcntl.flock(alive, fcntl.LOCK_EX)
    store.prune()
    os.close(alive)

    assert sorted(os.listdir(store.directory)) == [".new-alive", "data"]


def test_no_descriptor_is_left(store: VolumeStore, tmp_path: Path) -> None:
    _write(tmp_path / "layer", {"d/file": "x"})
    before = len(os.listdir("/proc/self/fd"))
    fd = store.hold("data")
    store.fill("data", (str(tmp_path / "layer"),), "/d")
    os.close(fd)
    store.remove("data")
    store.prune(every=True)

    assert len(os.listdir("/proc/self/fd")) == before


# --- filled --------------------------------------------------------------------------------------


def _write(root: Path, files: dict[str, str]) -> str:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return str(root)


def _tree(root: str) -> dict[str, str]:
    found = {}
    for directory, _, files in os.walk(root):
        for name in files:
            path = Path(directory, name)
            found[str(path.relative_to(root))] = (
                f"-> {os.readlink(path)}" if path.is_symlink() else path.read_text()
            )
    return found


@pytest.fixture
def filled(store: VolumeStore, tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Fill a new volume from layers (topmost first) and show what is in it."""

    def fill(*layers: Path, path: str = "/d") -> dict[str, str]:
        store.create("data")
        store.fill("data", tuple(map(str, layers)), path)
        return _tree(store.data_path("data"))

    return fill


def test_an_empty_volume_is_filled_and_a_full_one_is_not(
    store: VolumeStore, tmp_path: Path
) -> None:
    layers = (_write(tmp_path / "l", {"d/a": "1", "d/sub/b": "2"}),)
    store.create("data")

    assert store.fill("data", layers, "/d")
    assert _tree(store.data_path("data")) == {"a": "1", "sub/b": "2"}
    Path(store.data_path("data"), "a").unlink()
    assert not store.fill("data", layers, "/d")
    assert _tree(store.data_path("data")) == {"sub/b": "2"}


def test_what_is_no_directory_in_the_image_fills_nothing(
    store: VolumeStore, tmp_path: Path
) -> None:
    layers = (_write(tmp_path / "l", {"d/a": "1"}),)
    store.create("data")

    for path in ("/missing", "/d/a", "/d/a/b", "/missing/x"):
        assert not store.fill("data", layers, path)
    assert sorted(os.listdir(f"{store.directory}/data")) == ["data", "volume.json"]


def test_the_upper_of_two_layers_is_seen(
    filled: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    top, low = tmp_path / "top", tmp_path / "low"
    _write(top, {"d/both": "top", "d/sub/t": "t"})
    _write(low, {"d/both": "low", "d/sub/l": "l", "d/low": "low"})

    assert filled(top, low) == {"both": "top", "low": "low", "sub/l": "l", "sub/t": "t"}


@pytest.mark.needs("root")
def test_whiteouts_and_opaque_directories_hide_what_is_below(
    filled: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    top, low = tmp_path / "top", tmp_path / "low"
    _write(top, {"d/opaque/new": "n", "d/again/x": "x"})
    _write(
        low,
        {"d/gone": "1", "d/gone-dir/a": "1", "d/opaque/old": "o", "d/again": "file", "d/stay": ""},
    )
    for name in ("gone", "gone-dir"):
        os.mknod(top / "d" / name, stat.S_IFCHR | 0o000, 0)
    os.setxattr(top / "d/opaque", "trusted.overlay.opaque", b"y")

    assert filled(top, low) == {"again/x": "x", "opaque/new": "n", "stay": ""}


def test_a_file_over_a_directory_hides_it(
    filled: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    _write(tmp_path / "top", {"d/x": "file"})
    _write(tmp_path / "low", {"d/x/y": "below"})

    assert filled(tmp_path / "top", tmp_path / "low") == {"x": "file"}


@pytest.mark.needs("root")
def test_overlay_s_own_attributes_do_not_come_along(store: VolumeStore, tmp_path: Path) -> None:
    layer = tmp_path / "l"
    _write(layer, {"d/sub/a": "1"})
    os.setxattr(layer / "d/sub", "trusted.overlay.opaque", b"y")
    os.setxattr(layer / "d/sub", "user.note", b"mine")
    store.create("data")
    store.fill("data", (str(layer),), "/d")

    assert os.listxattr(f"{store.data_path('data')}/sub") == ["user.note"]


@pytest.mark.needs("root")
def test_owners_modes_times_links_and_devices_come_along(
    store: VolumeStore, tmp_path: Path
) -> None:
    layer = tmp_path / "l"
    _write(layer, {"d/file": "x", "d/sub/y": "y"})
    directory = layer / "d"
    os.link(directory / "file", directory / "sub/link")
    os.symlink("/no/where", directory / "symlink")
    os.mkfifo(directory / "pipe", 0o640)
    os.mknod(directory / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.chown(directory / "file", 1000, 1001)
    os.chmod(directory / "file", 0o4755)
    os.lchown(directory / "symlink", 7, 8)
    os.chown(directory, 33, 34)
    os.chmod(directory, 0o2750)
    os.utime(directory / "file", ns=(10**18, 10**18 + 1))
    os.utime(directory, ns=(2 * 10**18, 2 * 10**18 + 5))
    store.create("data")
    store.fill("data", (str(layer),), "/d")
    data = store.data_path("data")

    for name in ("", "file", "sub", "sub/link", "symlink", "pipe", "null"):
        old, new = os.lstat(directory / name), os.lstat(Path(data, name))
        assert (name, new.st_mode, new.st_uid, new.st_gid, new.st_rdev, new.st_mtime_ns) == (
            *(name, old.st_mode, old.st_uid, old.st_gid, old.st_rdev, old.st_mtime_ns),
        )
    assert os.path.samefile(Path(data, "file"), Path(data, "sub/link"))


def test_holes_stay_holes(store: VolumeStore, tmp_path: Path) -> None:
    (tmp_path / "l/d").mkdir(parents=True)
    with open(tmp_path / "l/d/sparse", "wb") as file:
        file.seek(64 << 20)
        file.write(b"end")
        file.truncate(128 << 20)
    store.create("data")
    store.fill("data", (str(tmp_path / "l"),), "/d")
    copy = os.stat(f"{store.data_path('data')}/sparse")

    assert copy.st_size == 128 << 20
    assert copy.st_blocks * 512 < 1 << 20
    with open(f"{store.data_path('data')}/sparse", "rb") as file:
        file.seek(64 << 20)
        assert file.read(4) == b"end\0"


@given(content=st.binary(max_size=300_000))
def test_every_content_is_copied_whole(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    layer = tmp_path_factory.mktemp("l")
    (layer / "d").mkdir()
    (layer / "d/file").write_bytes(content)
    target = tmp_path_factory.mktemp("t") / "copy"
    copy_up.copy_tree((str(layer),), "/d", str(target))

    assert (target / "file").read_bytes() == content


@pytest.mark.parametrize("link", ["/real", "../real", "../../../real", "/x/../real/.", "/loop"])
def test_a_link_on_the_way_is_followed_inside_the_image(
    filled: Callable[..., dict[str, str]], tmp_path: Path, link: str
) -> None:
    layer = tmp_path / "l"
    _write(layer, {"real/a": "image's", "x/y": ""})
    os.symlink("/x/link", layer / "loop")
    os.symlink(link, layer / "x/link")

    expected = {} if link == "/loop" else {"a": "image's"}
    assert filled(layer, path="/x/link") == expected


def test_a_link_to_the_host_copies_nothing_of_the_host(
    filled: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    _write(tmp_path / "host", {"secret": "s"})
    layer = tmp_path / "l"
    _write(layer, {"d/a": "1"})
    os.symlink(tmp_path / "host", layer / "link")
    os.symlink(tmp_path / "host/secret", layer / "d/link")

    assert filled(layer, path="/link") == {}
    assert filled(layer, path="/d") == {"a": "1", "link": f"-> {tmp_path}/host/secret"}


def test_names_that_are_no_utf_8_come_along(
    filled: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    name = os.fsdecode(b"\xff\n ,:")
    _write(tmp_path / "l", {f"d/{name}": "1"})

    assert filled(tmp_path / "l") == {name: "1"}


def test_of_two_at_once_one_fills_and_both_find_it_full(store: VolumeStore, tmp_path: Path) -> None:
    files = {f"d/{number:03}": "x" * number for number in range(200)}
    layers = (_write(tmp_path / "l", files),)

    def start() -> tuple[bool, int]:
        fd = store.hold("data")
        try:
            did = store.fill("data", layers, "/d")
            return did, len(os.listdir(store.data_path("data")))
        finally:
            os.close(fd)

    results = _together(6, start)

    assert sorted(map(repr, results)) == ["(False, 200)"] * 5 + ["(True, 200)"]


class _Crash(BaseException):
    pass


@pytest.mark.parametrize("step", ["mkdir", "link", "sendfile", "chown", "utime", "rename", "rmdir"])
def test_a_crash_at_any_point_is_completed_by_the_next_start(
    store: VolumeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    layer = tmp_path / "l"
    files = {f"d/{name}/{number}": f"{name}{number}" for name in "abc" for number in range(3)}
    _write(layer, {**files, "d/top": "top"})
    os.link(layer / "d/top", layer / "d/zlink")
    expected = {**{name[2:]: text for name, text in files.items()}, "top": "top", "zlink": "top"}
    os.chmod(layer / "d", 0o750)
    calls = 0
    crash_at = 0
    real = getattr(os, step)

    def sometimes(*args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        if calls == crash_at:
            raise _Crash
        return real(*args, **kwargs)

    for crash_at in range(1, 40):
        store.create("data")
        calls = 0
        with monkeypatch.context() as patch:
            patch.setattr(os, step, sometimes)
            try:
                store.fill("data", (str(layer),), "/d")
            except _Crash:
                pass
        if calls < crash_at:
            break
        store.fill("data", (str(layer),), "/d")

        assert _tree(store.data_path("data")) == expected
        assert stat.S_IMODE(os.stat(store.data_path("data")).st_mode) == 0o750
        store.remove("data")
    else:
        pytest.fail("the crash never came after the end")


def test_what_somebody_made_meanwhile_is_not_overwritten(
    store: VolumeStore, tmp_path: Path
) -> None:
    # A container that already has the empty volume mounted may write into it while another fills.
    volume = store.create("data")
    pending = Path(store.directory, "data", "pending")
    _write(pending, {"a": "image's", "b": "image's", "dir/x": "image's"})
    _write(Path(volume.mountpoint), {"a": "user's", "dir": "user's"})
    store.fill("data", (str(tmp_path),), "/d")

    assert _tree(volume.mountpoint) == {"a": "user's", "b": "image's", "dir": "user's"}


def test_no_space_leaves_the_volume_empty(
    store: VolumeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = (_write(tmp_path / "l", {"d/a": "1", "d/b": "2"}),)
    store.create("data")

    def full(*args: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "sendfile", full)
    with pytest.raises(OSError, match="No space"):
        store.fill("data", layers, "/d")

    assert os.listdir(store.data_path("data")) == []


def _random_layer(layer: Path, random: Random, *, top: bool) -> None:
    """A few names, each a file, a directory, a link or a whiteout, so that layers collide."""

    def fill(directory: Path, depth: int) -> None:
        directory.mkdir(exist_ok=True)
        for name in "abcde":
            kind = random.choice(["file", "dir", "link", "whiteout", "opaque", "none", "dir"])
            path = directory / name
            if kind == "file":
                path.write_text(f"{layer.name} {random.random()}")
                os.chmod(path, random.choice([0o600, 0o755, 0o4711]))
            elif kind in ("dir", "opaque") and depth:
                fill(path, depth - 1)
                if kind == "opaque" and not top:
                    os.setxattr(path, "trusted.overlay.opaque", b"y")
                os.chown(path, random.randrange(9), random.randrange(9))
            elif kind == "link":
                os.symlink(f"../{random.choice('abcde')}", path)
            elif kind == "whiteout":
                os.mknod(path, stat.S_IFCHR, 0)

    layer.mkdir()
    fill(layer / "d", 3)


def _facts(root: str) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for directory, directories, files in os.walk(root):
        for path in (directory, *(f"{directory}/{name}" for name in directories + files)):
            status = os.lstat(path)
            content: object = None
            if stat.S_ISREG(status.st_mode):
                content = Path(path).read_bytes()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            facts = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, content)
            found[os.path.relpath(path, root)] = facts
    return found


@pytest.mark.needs("root", "overlay")
@pytest.mark.parametrize("seed", range(12))
def test_a_volume_is_filled_with_what_the_kernel_s_overlay_shows(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    layers = [tmp_path / f"layer{number}" for number in range(4)]
    for number, layer in enumerate(layers):
        _random_layer(layer, random, top=number == 0)
    (tmp_path / "mnt").mkdir()
    # Where a directory is of one layer alone the kernel lists its whiteouts by name, and has no
    # file behind the name: cp complains of those.
    script = 'mount -t overlay overlay -o "lowerdir=$1" "$2/mnt"; cp -a "$2/mnt/d" "$2/expected"'
    words = ("sh", "-c", script, "sh", ":".join(map(str, layers)), str(tmp_path))
    subprocess.run(["unshare", "-m", *words], stderr=subprocess.DEVNULL)
    copy_up.copy_tree(tuple(map(str, layers)), "/d", str(tmp_path / "copy"))

    assert _facts(str(tmp_path / "copy")) == _facts(str(tmp_path / "expected"))
