"""The view of layers: whiteouts and hostile links, and the kernel's own overlay beside it."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from newroot.errors import SyscallError
from newroot.linux.merged import MergedView, read_from_layers
from newroot.testing.needs import needs

pytestmark = needs("root")  # for mknod and trusted xattrs


def whiteout(path):
    os.mknod(path, 0o20600, 0)


def opaque(path, prefix="trusted"):
    path.mkdir(parents=True, exist_ok=True)
    os.setxattr(path, f"{prefix}.overlay.opaque", b"y")


@pytest.fixture
def layers(tmp_path):
    """Three layers, topmost first."""
    found = [tmp_path / name for name in ("top", "middle", "bottom")]
    for each in found:
        (each / "etc").mkdir(parents=True)
    return found


def names(layers):
    return tuple(map(str, layers))


def test_topmost_file_is_the_one_that_is_read(layers):
    for each in layers[1:]:
        (each / "etc/passwd").write_text(each.name)

    assert read_from_layers(names(layers), "/etc/passwd") == b"middle"


def test_whiteout_hides_what_is_below_it(layers):
    (layers[2] / "etc/passwd").write_text("old")
    whiteout(layers[0] / "etc/passwd")

    assert read_from_layers(names(layers), "/etc/passwd") is None


def test_whiteout_of_a_directory_hides_its_contents_but_not_what_is_above(layers):
    (layers[2] / "etc/passwd").write_text("old")
    (layers[1] / "etc").rmdir()
    whiteout(layers[1] / "etc")
    (layers[0] / "etc/group").write_text("new")
    with MergedView(names(layers)) as view:
        assert view.list("/etc") == ("group",)
        assert view.read("/etc/passwd") is None


@pytest.mark.parametrize("prefix", ["trusted", "user"])
def test_opaque_directory_hides_what_is_below_it(layers, prefix):
    (layers[2] / "etc/passwd").write_text("old")
    opaque(layers[1] / "etc", prefix)
    (layers[1] / "etc/hosts").write_text("new")
    with MergedView(names(layers)) as view:
        assert view.list("/etc") == ("hosts",)
        assert not view.exists("/etc/passwd")


def test_file_in_between_hides_the_directory_below(layers):
    (layers[2] / "etc/passwd").write_text("old")
    (layers[1] / "etc").rmdir()
    (layers[1] / "etc").write_text("a file now")
    with MergedView(names(layers)) as view:
        assert view.list("/etc") == ()
    with MergedView(names(layers[1:])) as view:
        assert view.read("/etc") == b"a file now"


def test_symlink_is_walked_in_the_merged_tree_and_not_in_its_layer(layers):
    (layers[2] / "etc/passwd").symlink_to("/etc/real")
    (layers[2] / "etc/real").write_text("old")
    (layers[0] / "etc/real").write_text("new")

    assert read_from_layers(names(layers), "etc/passwd") == b"new"


@pytest.mark.parametrize("target", ["/etc/shadow", "../../../../../etc/shadow", "/../etc/shadow"])
def test_symlink_to_the_hosts_shadow_file_finds_the_images_or_nothing(layers, target):
    (layers[0] / "etc/passwd").symlink_to(target)

    assert read_from_layers(names(layers), "/etc/passwd") is None

    (layers[1] / "etc/shadow").write_text("the image's own")

    assert read_from_layers(names(layers), "/etc/passwd") == b"the image's own"


def test_loop_of_symlinks_over_two_layers_ends(layers):
    (layers[0] / "etc/passwd").symlink_to("group")
    (layers[1] / "etc/group").symlink_to("passwd")

    assert read_from_layers(names(layers), "/etc/passwd") is None


def test_fifo_as_passwd_is_no_file_and_nobody_waits(layers):
    os.mkfifo(layers[0] / "etc/passwd")
    (layers[1] / "etc/passwd").write_text("below")

    assert read_from_layers(names(layers), "/etc/passwd") is None


def test_large_file_is_refused(layers):
    with open(layers[0] / "etc/passwd", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(SyscallError, match="more than 1048576 bytes"):
        read_from_layers(names(layers), "/etc/passwd")


def test_stat_and_readlink_tell_of_the_thing_itself(layers):
    (layers[1] / "etc/link").symlink_to("/etc/there")
    (layers[2] / "etc/there").write_text("12345")
    with MergedView(names(layers)) as view:
        assert view.readlink("/etc/link") == "/etc/there"
        assert view.readlink("/etc/there") is None
        assert view.stat("/etc/link").st_size == 5
        assert (
            view.stat("/etc/link", follow=False).st_ino == os.lstat(layers[1] / "etc/link").st_ino
        )
        fd = view.open("/etc/link")
        assert os.readlink(f"/proc/self/fd/{fd}") == str(layers[2] / "etc/there")
        os.close(fd)
        assert view.open("/nowhere") is None


def test_no_descriptor_is_left_over(layers):
    before = sorted(os.listdir("/proc/self/fd"))
    (layers[0] / "etc/a").symlink_to("a")
    with MergedView(names(layers)) as view:
        for path in ("/etc/a", "/etc", "/nothing/x", "/etc/../..", "etc/a/b"):
            view.exists(path)
            view.list(path)
        view.close()
    with pytest.raises(FileNotFoundError):
        MergedView((*names(layers), "/no/such/layer"))

    assert before == sorted(os.listdir("/proc/self/fd"))


# --- beside the kernel's own overlay --------------------------------------------------------------

NAMES = ("a", "b", "c")
inside = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
things = st.tuples(inside, st.sampled_from(["file", "dir", "whiteout", "opaque", "link"]), inside)


def make(layer, number, path, kind, target):
    try:
        (layer / path).parent.mkdir(parents=True, exist_ok=True)
        if kind == "file":
            (layer / path).write_text(f"{number}")
        elif kind == "dir":
            (layer / path).mkdir()
        elif kind == "opaque":
            opaque(layer / path)
        elif kind == "whiteout":
            whiteout(layer / path)
        else:
            (layer / path).symlink_to(f"/{target}")
    except (FileExistsError, NotADirectoryError, OSError):
        pass


@needs("overlay")
@settings(max_examples=25)
@given(st.lists(st.lists(things, max_size=6), min_size=2, max_size=3))
def test_view_is_what_the_kernels_overlay_shows(tmp_path_factory, contents):
    base = tmp_path_factory.mktemp("overlay")
    made = []
    for number, each in enumerate(contents):
        made.append(base / str(number))
        made[-1].mkdir()
        for thing in each:
            make(made[-1], number, *thing)
    (base / "merged").mkdir()
    lower = ":".join(map(str, made))
    script = (
        f"cd {base} && mount -t overlay overlay -o lowerdir={lower} merged && cd merged || exit 9;"
        # A whiteout in a directory of one layer only is listed by the kernel and then not found.
        "find . -mindepth 1 -printf '%P %y %l\\n' -type f -exec cat {} \\; -exec echo \\; || true"
    )
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, check=True)
    expected = sorted(line for line in done.stdout.decode().splitlines() if line)
    with MergedView(tuple(map(str, made))) as view:
        actual = sorted(show(view, ""))

    assert expected == actual


def show(view, below):
    for name in view.list(below) or ():
        path = f"{below}{name}"
        mode = view.stat(path, follow=False).st_mode
        kind = {0o040000: "d", 0o100000: "f", 0o120000: "l"}[mode & 0o170000]
        yield f"{path} {kind} {view.readlink(path) or ''}"
        if kind == "f":
            yield (view.read(path) or b"").decode()
        if kind == "d":
            yield from show(view, f"{path}/")
