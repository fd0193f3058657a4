"""Paths below a hostile root: nothing leads out, nothing hangs, nothing is left open."""

from __future__ import annotations

import errno
import os
import socket
import threading
from pathlib import Path

import pytest

from newroot.errors import SyscallError
from newroot.linux.paths import open_in_root, read_in_root

SECRET = b"of the host"


@pytest.fixture
def tree(tmp_path):
    """A root with a secret beside it, and what a hostile image puts into it."""
    (tmp_path / "secret").write_bytes(SECRET)
    root = tmp_path / "root"
    (root / "etc/deep/er").mkdir(parents=True)
    (root / "etc/passwd").write_bytes(b"of the image")
    (root / "secret").write_bytes(b"of the image, too")
    links = {
        "up": "../secret",
        "far-up": "../../../../../../../../secret",
        "absolute": "/secret",
        "host-absolute": str(tmp_path / "secret"),
        "etc/deep/er/up": "../../../../../secret",
        "self": "self",
        "loop": "pool",
        "pool": "loop",
        "dir": "/etc/deep",
        "dangling": "/made/later",
        "dangling-here": "later",
        "root": "/",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    os.mkfifo(root / "fifo")
    (root / "fifo-link").symlink_to("fifo")
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    yield root, fd
    os.close(fd)


@pytest.mark.parametrize(
    "path",
    [
        "up",
        "far-up",
        "absolute",
        "etc/deep/er/up",
        "../secret",
        "/../../secret",
        "dir/../../secret",
    ],
)
def test_nothing_leads_out_of_the_root(tree, path):
    _, root_fd = tree

    assert read_in_root(root_fd, path) == b"of the image, too"


def test_absolute_path_of_the_host_means_nothing_inside(tree):
    _, root_fd = tree

    assert read_in_root(root_fd, "host-absolute") is None


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("loop", errno.ELOOP),
        ("self", errno.ELOOP),
        ("self/x", errno.ELOOP),
        ("nothing", errno.ENOENT),
        ("nothing/below", errno.ENOENT),
        ("etc/passwd/below", errno.ENOTDIR),
        ("etc/pass\0wd", errno.ENOENT),
        ("dangling", errno.ENOENT),
    ],
)
def test_what_cannot_be_opened_says_what_the_kernel_would(tree, path, number):
    _, root_fd = tree
    with pytest.raises(OSError) as caught:
        open_in_root(root_fd, path, os.O_RDONLY)

    assert caught.value.errno == number
    assert read_in_root(root_fd, path) is None


@pytest.mark.parametrize("path", ["fifo", "fifo-link", "etc", "/", "", "."])
def test_what_is_no_regular_file_is_not_read_and_nobody_waits(tree, path):
    _, root_fd = tree

    assert read_in_root(root_fd, path) is None


def test_socket_and_device_are_not_read(tree):
    root, root_fd = tree
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(root)
        listener.bind("sock")
        os.chdir("/")

        assert read_in_root(root_fd, "sock") is None


def test_file_that_is_too_large_is_an_error_with_its_name(tree):
    root, root_fd = tree
    (root / "etc/passwd").write_bytes(b"x" * 101)
    with pytest.raises(SyscallError, match="read /etc/passwd of the image: more than 100"):
        read_in_root(root_fd, "/etc/passwd", limit=100)

    assert len(read_in_root(root_fd, "/etc/passwd", limit=101) or b"") == 101


def test_path_deeper_than_any_tree_is_refused_and_not_walked(tree):
    _, root_fd = tree

    assert read_in_root(root_fd, "root/" * 41 + "secret") is None  # 41 symlinks
    assert read_in_root(root_fd, "etc/../" * 500 + "secret") == b"of the image, too"


def test_tree_that_is_very_deep_does_not_eat_descriptors(tree):
    root, root_fd = tree
    here = os.open(root, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with pytest.raises(OSError) as caught:
        open_in_root(root_fd, "d/" * 300, os.O_PATH)

    assert caught.value.errno == errno.ENAMETOOLONG


def test_new_file_is_made_where_the_symlink_leads_inside(tree):
    root, root_fd = tree
    (root / "made").mkdir()
    os.close(open_in_root(root_fd, "dangling", os.O_CREAT | os.O_WRONLY))

    assert (root / "made/later").exists()
    assert not Path("/made").exists()


def test_new_file_over_a_symlink_is_refused_without_following(tree):
    root, root_fd = tree
    with pytest.raises(OSError) as caught:
        open_in_root(root_fd, "dangling-here", os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW)

    assert caught.value.errno == errno.ELOOP
    assert not (root / "later").exists()


def test_exclusive_creation_of_what_is_there_is_refused(tree):
    _, root_fd = tree
    with pytest.raises(FileExistsError):
        open_in_root(root_fd, "etc/passwd", os.O_CREAT | os.O_EXCL | os.O_WRONLY)


def test_directory_is_asked_for_and_a_file_is_none(tree):
    _, root_fd = tree
    with pytest.raises(NotADirectoryError):
        open_in_root(root_fd, "etc/passwd", os.O_PATH | os.O_DIRECTORY)
    os.close(open_in_root(root_fd, "dir", os.O_PATH | os.O_DIRECTORY))


def test_magic_links_are_no_more_than_their_text(tree):
    root_fd = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
    try:
        # The kernel would open the program; below the root /proc there is no such path.
        with pytest.raises(FileNotFoundError):
            open_in_root(root_fd, f"{os.getpid()}/exe", os.O_RDONLY)
    finally:
        os.close(root_fd)


def test_no_descriptor_is_left_over_whatever_happens(tree):
    _, root_fd = tree
    before = sorted(os.listdir("/proc/self/fd"))
    for path in ("up", "loop", "nothing", "etc/passwd/x", "fifo", "far-up", "dir/er/up", ""):
        read_in_root(root_fd, path)

    assert before == sorted(os.listdir("/proc/self/fd"))


def test_race_with_a_directory_that_becomes_a_symlink_leads_nowhere(tree, tmp_path):
    root, root_fd = tree
    (root / "way").mkdir()
    (root / "way/secret").write_bytes(b"inside")
    (root / "decoy").symlink_to(tmp_path)
    done = threading.Event()

    def swap():
        # renameat2(RENAME_EXCHANGE) is not in os; three renames make the same gap.
        while not done.is_set():
            os.rename(root / "way", root / "away")
            os.rename(root / "decoy", root / "way")
            os.rename(root / "way", root / "decoy")
            os.rename(root / "away", root / "way")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        seen = {read_in_root(root_fd, "way/secret") for _ in range(2000)}
    finally:
        done.set()
        thread.join()

    assert SECRET not in seen
    assert seen <= {b"inside", None}
