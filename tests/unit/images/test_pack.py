"""What Packer writes is read by our reader, by Python's and by GNU tar as what it was."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.errors import ImageError
from newroot.images.pack import Packer
from newroot.images.tar import DIRECTORY, FILE, HARD_LINK, TarReader
from newroot.images.unpack import unpack_layer
from newroot.linux.merged_tree import walk
from newroot.testing.needs import needs


def pack(root: Path, **options) -> bytes:
    packer = Packer(what="it", **options)
    parts = [
        part
        for found in walk([str(root)])
        for part in packer.file(found.path, found.parent, found.name, found.status)
    ]
    return b"".join([*parts, packer.end()])


def members(data: bytes):
    stream = io.BytesIO(data)
    return list(TarReader(lambda: stream.read(1000), what="it", strict=True))


def unpack(data: bytes, directory: Path) -> Path:
    directory.mkdir()
    stream = io.BytesIO(data)
    fd = os.open(directory, os.O_RDONLY)
    try:
        unpack_layer(lambda: stream.read(10_000), fd, what="it", strict=True)
    finally:
        os.close(fd)
    return directory


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    return root


def test_the_same_files_give_the_same_bytes_in_the_order_of_their_names(root: Path, tmp_path: Path):
    for name in ("b", "a", "c/d", "c/a"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(name)
    os.link(root / "b", root / "z")
    again = tmp_path / "again"
    subprocess.run(["cp", "-a", str(root), str(again)], check=True)

    assert [b"a", b"b", b"c/", b"c/a", b"c/d", b"z"] == [m.name for m in members(pack(root))]
    assert pack(again) == pack(root)


def test_no_time_is_later_than_the_epoch_and_earlier_ones_stay(root: Path):
    (root / "new").write_text("")
    (root / "old").write_text("")
    os.utime(root / "new", ns=(0, 2_000_000_000_123_456_789))
    os.utime(root / "old", ns=(0, 5_500_000_000))
    new, old = members(pack(root, epoch=1000))

    assert (1_000_000_000_000, 5_500_000_000) == (new.mtime_ns, old.mtime_ns)


@given(st.integers(min_value=-(10**18), max_value=4 * 10**18))
def test_every_time_comes_back_to_the_nanosecond(mtime_ns: int):
    records: list[tuple[bytes, bytes]] = []
    seconds = Packer(what="it")._time(mtime_ns, records)
    reader = TarReader(lambda: b"", what="it")
    found = reader._nanoseconds(records[0][1]) if records else seconds * 1_000_000_000

    assert mtime_ns == found


def test_hard_links_stay_one_file(root: Path, tmp_path: Path):
    (root / "first").write_text("x" * 10_000)
    os.link(root / "first", root / "second")
    os.symlink("nowhere", root / "link")
    os.link(root / "link", root / "other", follow_symlinks=False)
    data = pack(root)
    out = unpack(data, tmp_path / "out")

    assert [FILE, HARD_LINK] == [m.kind for m in members(data) if b"link" not in m.name][:1] + [
        members(data)[-1].kind
    ]
    assert (out / "first").stat().st_ino == (out / "second").stat().st_ino
    assert (out / "link").lstat().st_ino == (out / "other").lstat().st_ino


@pytest.mark.parametrize("length", [99, 100, 101, 255])
@pytest.mark.parametrize("letter", ["x", "é", "\udce9"])
def test_names_of_every_length_and_alphabet_survive(root: Path, tmp_path: Path, length, letter):
    raw = (os.fsencode(letter) * length)[:length]
    if letter == "é" and length % 2:
        raw = raw[:-1] + b"x"
    directory = bytes(os.fsencode(root)) + b"/" + raw
    os.mkdir(directory)
    with open(directory + b"/" + raw, "wb"):
        pass
    os.symlink(raw * 3, directory + b"/link")
    data = pack(root)
    out = unpack(data, tmp_path / "out")

    assert [raw] == os.listdir(os.fsencode(out))
    assert raw * 3 == os.readlink(os.path.join(os.fsencode(out), raw, b"link"))
    listed = subprocess.run(
        ["tar", "-t", "--quoting-style=literal"], input=data, capture_output=True, check=True
    )
    assert raw + b"/" + raw in listed.stdout.split(b"\n")
    # GNU tar 1.34 says that it does not know POSIX' word for names that are not UTF-8.
    assert all(b"hdrcharset" in line for line in listed.stderr.splitlines())


@pytest.mark.parametrize("holes", [[(0, 3)], [(1 << 20, 5)], [], [(4096, 10), (1 << 22, 4096)]])
def test_a_sparse_file_stays_sparse_and_the_same(root: Path, tmp_path: Path, holes):
    size = 8 << 20
    with open(root / "sparse", "wb") as file:
        for offset, length in holes:
            file.seek(offset)
            file.write(os.urandom(length))
        file.truncate(size)
    data = pack(root)
    out = unpack(data, tmp_path / "out")
    (tmp_path / "gnu").mkdir()
    subprocess.run(["tar", "-x", "-C", str(tmp_path / "gnu")], input=data, check=True)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        pythons = tar.extractfile("sparse").read()  # type: ignore[union-attr]

    whole = (root / "sparse").read_bytes()
    assert len(data) < 100_000
    assert (out / "sparse").read_bytes() == whole
    assert (tmp_path / "gnu/sparse").read_bytes() == whole
    assert pythons == whole
    assert (out / "sparse").stat().st_blocks == (root / "sparse").stat().st_blocks


def test_a_socket_is_left_out_and_a_fifo_is_not(root: Path):
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "socket"))
        names = [m.name for m in members(pack(root))]

    assert [b"fifo"] == names


def test_a_name_of_an_attribute_that_no_tar_can_hold_is_an_error(root: Path):
    (root / "file").write_text("")
    os.setxattr(root / "file", "user.a=b", b"x")

    with pytest.raises(ImageError, match=r"user\.a=b"):
        pack(root)


def test_the_overlays_own_attributes_stay_out_and_escaped_ones_come_back(root: Path):
    (root / "file").write_text("")
    os.setxattr(root / "file", "user.overlay.opaque", b"y")
    os.setxattr(root / "file", "user.overlay.overlay.opaque", b"n")
    os.setxattr(root / "file", "user.binary", b"\0=\n\xff")
    (entry,) = members(pack(root))

    assert {b"user.overlay.opaque": b"n", b"user.binary": b"\0=\n\xff"} == entry.xattrs


@needs("root")
def test_large_ids_devices_and_modes_survive(root: Path):
    (root / "file").write_text("")
    os.chown(root / "file", 4_000_000_000, 3_000_000)
    os.chmod(root / "file", 0o6755)
    os.mknod(root / "node", 0o060640, os.makedev(259, 1_000_000))
    os.mkdir(root / "d")
    os.chmod(root / "d", 0o1777)
    directory, file, node = members(pack(root))

    assert (DIRECTORY, 0o1777) == (directory.kind, directory.mode)
    assert (4_000_000_000, 3_000_000, 0o6755) == (file.uid, file.gid, file.mode)
    assert ((259, 1_000_000), 0o640) == (node.device, node.mode)


def test_a_file_that_shrinks_while_it_is_read_does_not_break_the_archive(root: Path):
    (root / "file").write_bytes(b"x" * (3 << 20))
    tree = walk([str(root)])
    found = next(tree)
    parts = Packer(what="it").file(found.path, found.parent, found.name, found.status)
    data = next(parts) + next(parts)
    os.truncate(root / "file", 0)
    data += b"".join(parts) + bytes(1024)
    (entry,) = members(data)

    assert 3 << 20 == entry.size


def test_what_is_replaced_by_a_link_is_not_followed(root: Path, tmp_path: Path):
    (tmp_path / "secret").write_text("a host file")
    (root / "file").write_text("harmless")
    tree = walk([str(root)])
    found = next(tree)
    (root / "file").unlink()
    (root / "file").symlink_to(tmp_path / "secret")
    parts = list(Packer(what="it").file(found.path, found.parent, found.name, found.status))

    assert [] == parts, "A LINK LED TO A HOST FILE"
