"""What an upper changes, as docker diff lists it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from newroot.rootfs.diff import changes, listed
from newroot.testing.needs import needs

pytestmark = needs("root")


@pytest.fixture
def lower(tmp_path: Path) -> Path:
    lower = tmp_path / "lower"
    (lower / "etc").mkdir(parents=True)
    (lower / "etc/passwd").write_text("root")
    (lower / "etc/group").write_text("root")
    (lower / "var/log").mkdir(parents=True)
    (lower / "var/log/old").write_text("x")
    return lower


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    (tmp_path / "upper").mkdir()
    return tmp_path / "upper"


def copy_up(lower: Path, upper: Path, name: str) -> None:
    status = (lower / name).lstat()
    (upper / name).parent.mkdir(parents=True, exist_ok=True)
    if stat.S_ISDIR(status.st_mode):
        (upper / name).mkdir(exist_ok=True)
    else:
        (upper / name).write_bytes((lower / name).read_bytes())
    os.utime(upper / name, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.chmod(upper / name, stat.S_IMODE(status.st_mode))


def whiteout(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))


def diff(upper: Path, *lower: Path, **options) -> list[str]:
    found = listed(changes([str(upper)], [str(path) for path in lower], **options))
    return [f"{kind} /{os.fsdecode(path)}" for kind, path in found]


def test_an_untouched_upper_has_no_changes(lower: Path, upper: Path):
    assert [] == diff(upper, lower)


def test_a_new_file_changes_the_directories_above_it(lower: Path, upper: Path):
    (upper / "var/log/new").mkdir(parents=True)
    (upper / "var/log/new/file").write_text("")

    assert ["C /var", "C /var/log", "A /var/log/new", "A /var/log/new/file"] == diff(upper, lower)


def test_what_was_only_copied_up_has_not_changed(lower: Path, upper: Path):
    copy_up(lower, upper, "etc/passwd")

    assert [] == diff(upper, lower)


@pytest.mark.parametrize(
    "touch",
    [
        lambda path: path.write_text("else"),
        lambda path: os.chmod(path, 0o600),
        lambda path: os.chown(path, 5, 5),
        lambda path: os.utime(path, ns=(0, 1)),
        lambda path: os.setxattr(path, "user.note", b"x"),
        lambda path: (path.unlink(), path.symlink_to("x")),
        lambda path: (path.unlink(), path.mkdir()),
    ],
)
def test_content_mode_owner_time_attributes_and_kind_are_changes(lower, upper, touch):
    copy_up(lower, upper, "etc/passwd")
    touch(upper / "etc/passwd")

    assert ["C /etc", "C /etc/passwd"] == diff(upper, lower)


def test_the_time_of_a_directory_is_no_change_and_its_mode_is(lower: Path, upper: Path):
    copy_up(lower, upper, "etc")
    os.utime(upper / "etc", ns=(0, 1))
    assert [] == diff(upper, lower)

    os.chmod(upper / "etc", 0o700)
    assert ["C /etc"] == diff(upper, lower)


def test_a_removed_directory_is_named_alone(lower: Path, upper: Path):
    whiteout(upper / "var")

    assert ["D /var"] == diff(upper, lower)


def test_a_whiteout_of_what_was_not_there_is_no_change(lower: Path, upper: Path):
    whiteout(upper / "etc/never")

    assert [] == diff(upper, lower)


def test_an_opaque_directory_has_lost_what_it_does_not_show(lower: Path, upper: Path):
    copy_up(lower, upper, "etc")
    os.setxattr(upper / "etc", "trusted.overlay.opaque", b"y")
    copy_up(lower, upper, "etc/group")
    (upper / "etc/new").write_text("")

    assert ["C /etc", "A /etc/new", "D /etc/passwd"] == diff(upper, lower)


def test_only_the_topmost_lower_counts_where_it_hides_the_others(lower, upper, tmp_path):
    middle = tmp_path / "middle"
    whiteout(middle / "etc/passwd")
    whiteout(middle / "var")
    (upper / "etc").mkdir()
    (upper / "etc/passwd").write_text("again")
    whiteout(upper / "var")

    assert ["C /etc", "A /etc/passwd"] == diff(upper, middle, lower)


def test_what_was_made_for_mounts_is_no_change_unless_it_is_used(lower: Path, upper: Path):
    made = {b"etc/hosts", b"mnt/data", b"proc"}
    for name in ("etc", "mnt/data", "proc"):
        (upper / name).mkdir(parents=True)
    (upper / "etc/hosts").write_text("")
    assert [] == diff(upper, lower, made=made)

    (upper / "mnt/mine").write_text("")
    (upper / "etc/hosts").write_text("written before")
    assert ["C /etc", "A /etc/hosts", "A /mnt", "A /mnt/mine"] == diff(upper, lower, made=made)


def test_a_link_in_the_place_of_a_directory_is_not_followed(lower, upper, tmp_path):
    (tmp_path / "host").mkdir()
    (tmp_path / "host/secret").write_text("")
    (upper / "var").symlink_to(tmp_path / "host")
    found = diff(upper, lower)

    assert ["C /var"] == found, "A LINK LED OUT OF THE UPPER"


def test_leaving_half_way_leaves_no_descriptor(lower: Path, upper: Path):
    for name in ("a/b/c", "d"):
        (upper / name).mkdir(parents=True)
    before = os.listdir("/proc/self/fd")
    found = changes([str(upper)], [str(lower)])
    next(found)
    next(found)
    found.close()

    assert before == os.listdir("/proc/self/fd")
