"""Mount tables: the manual page, any bytes at all, and hostile mount points in the kernel."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.linux import mountinfo
from newroot.linux.mountinfo import Mount
from newroot.testing.needs import needs

# The example of proc_pid_mountinfo(5).
LINE = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue"

raw_bytes = st.binary(min_size=1, max_size=40).filter(lambda b: b"\0" not in b)
paths = raw_bytes.map(lambda b: "/" + os.fsdecode(b))
words = raw_bytes.map(lambda b: os.fsdecode(b"/" + b.replace(b",", b"")))
numbers = st.integers(0, 2**31)
groups = st.none() | numbers

mounts = st.builds(
    Mount,
    id=numbers,
    parent=numbers,
    dev=st.tuples(numbers, numbers),
    root=paths,
    mount_point=paths,
    options=st.lists(words, min_size=1, max_size=3).map(tuple),
    shared=groups,
    master=groups,
    propagate_from=groups,
    unbindable=st.booleans(),
    fstype=words,
    source=paths,
    super_options=st.lists(words, min_size=1, max_size=3).map(tuple),
)


def test_line_of_the_manual_page_is_understood():
    assert mountinfo.parse_mount(LINE) == Mount(
        id=36,
        parent=35,
        dev=(98, 0),
        root="/mnt1",
        mount_point="/mnt2",
        options=("rw", "noatime"),
        master=1,
        fstype="ext3",
        source="/dev/root",
        super_options=("rw", "errors=continue"),
    )


@given(mounts)
def test_any_mount_survives_the_round_trip(mount):
    assert mountinfo.parse_mount(mountinfo.format_mount(mount)) == mount


@given(st.lists(mounts, max_size=4))
def test_any_table_survives_the_round_trip_as_bytes(table):
    text = os.fsencode(mountinfo.format_mounts(table))

    assert mountinfo.parse_mountinfo(text) == tuple(table)


@given(st.binary())
def test_any_text_is_a_table_or_a_value_error(text):
    try:
        mountinfo.parse_mountinfo(text)
    except ValueError:
        pass


def test_octal_escapes_are_undone_and_others_are_left():
    assert mountinfo.unescape(r"/a\040b\011c\012d\134e\x\9\400") == "/a b\tc\nd\\e\\x\\9\\400"


def test_mount_point_that_was_deleted_keeps_the_kernels_mark():
    line = r"1 2 0:3 /a\040b//deleted /m rw - tmpfs tmpfs rw"

    assert mountinfo.parse_mount(line).root == "/a b//deleted"


def test_empty_source_is_an_empty_source():
    mount = mountinfo.parse_mount("1 2 0:3 / /m rw - tmpfs  rw")

    assert (mount.source, mount.super_options) == ("", ("rw",))


def test_optional_fields_that_nobody_knows_are_kept():
    line = "1 2 0:3 / /m rw shared:4 future:9 master:5 unbindable new - tmpfs none ro"
    mount = mountinfo.parse_mount(line)

    assert mount.other_fields == ("future:9", "new")
    assert mount.propagation == "shared,slave"
    assert mount.unbindable
    assert mount.readonly


@pytest.mark.parametrize(
    "line", ["", "1 2 3", "a b c:d / / rw - x y z", "1 2 0:3 / /m rw tmpfs none"]
)
def test_what_is_no_line_is_a_value_error(line):
    with pytest.raises(ValueError, match="not a line of mountinfo"):
        mountinfo.parse_mount(line)


def test_own_mounts_are_read():
    found = mountinfo.read_mounts()

    assert any(mount.mount_point == "/" for mount in found)
    assert len(found) == Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").count(
        "\n"
    )


@needs("root")
def test_hostile_mount_points_are_read_as_they_are(tmp_path):
    raw = ("a b", "tab\there", "new\nline", "back\\slash", "h#sh", b"\xff\xfe", "\u2028", "é")
    names = [os.fsdecode(each if isinstance(each, bytes) else each.encode()) for each in raw]
    for name in names:
        (tmp_path / name).mkdir()
    script = 'for d; do mount -t tmpfs "no ne#x" "$d" || exit 9; done; cat /proc/self/mountinfo'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "-", *(str(tmp_path / name) for name in names)],
        capture_output=True,
        check=True,
    )
    found = {mount.mount_point: mount for mount in mountinfo.parse_mountinfo(done.stdout)}

    assert {str(tmp_path / name) for name in names} <= set(found)
    assert {found[str(tmp_path / name)].source for name in names} == {"no ne#x"}
