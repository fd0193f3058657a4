"""Small archives that would fill the disk, the inodes, the memory or the afternoon."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile

import pytest

from newroot.errors import UnsafeEntry
from newroot.images.limits import DEFAULT, Limits
from newroot.images.tar import TarReader


def test_a_million_entries_are_refused(archive):
    block = archive.file("x", b"")[0].tobuf()
    chunks = iter([block * 2000] * 500)

    with pytest.raises(UnsafeEntry, match="more than 500000 entries") as caught:
        for _ in TarReader(lambda: next(chunks), what="the bomb"):
            pass

    assert 500_000 == DEFAULT.entries
    assert "Limits(entries=" in caught.value.hint


def test_too_many_entries_leave_the_store_as_it_was(scene, archive):
    members = [archive.file(f"f{i}", b"") for i in range(101)]

    scene.refuses(archive.of(*members), "more than 100 entries", UnsafeEntry, Limits(entries=100))


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_decompression_bomb_is_refused(scene, archive, compress):
    bomb = compress(archive.of(archive.file("zeros", bytes(20 << 20))))

    assert len(bomb) < 100_000
    scene.refuses(bomb, "10485760 bytes", UnsafeEntry, Limits(size_bytes=10 << 20))


def test_zeros_after_the_end_of_the_archive_count_too(scene, archive):
    bomb = gzip.compress(archive.of(archive.file("x")) + bytes(20 << 20))

    scene.refuses(bomb, "bytes when unpacked", UnsafeEntry, Limits(size_bytes=10 << 20))


def test_a_sparse_file_counts_whole(scene, archive):
    size = str(1 << 60)
    info, _ = archive.file("huge", b"")
    info.pax_headers = {"GNU.sparse.size": size, "GNU.sparse.map": f"{size},0"}

    scene.refuses(archive.of((info, b"")), "its files are larger than", UnsafeEntry)


def test_a_long_name_is_refused(scene, archive):
    name = "/".join(["d" * 200] * 21)

    scene.refuses(archive.of(archive.file(name)), "longer than 4095 bytes", UnsafeEntry)


def test_a_long_link_target_is_refused(scene, archive):
    entry = archive.symlink("l", "a/" * 2048)

    scene.refuses(archive.of(entry), "its target is longer than 4095 bytes", UnsafeEntry)


def test_a_component_longer_than_the_kernel_takes_is_one_clear_error(scene, archive):
    from newroot.errors import SyscallError

    scene.refuses(archive.of(archive.file("x" * 256)), "File name too long", SyscallError)


def test_a_deep_tree_is_refused(scene, archive):
    scene.refuses(archive.of(archive.file("d/" * 300 + "x")), "deeper than 256", UnsafeEntry)


def test_a_deep_tree_of_short_steps_through_links_is_refused(scene, archive):
    # Each entry's name is short; the link carries the next one further down.
    members = []
    for i in range(10):
        members.append(archive.directory(f"l{i - 1}/" * bool(i) + "d/" * 60))
        members.append(archive.symlink(f"l{i}", f"l{i - 1}/" * bool(i) + "d/" * 60))

    scene.refuses(archive.of(*members), "deeper than 256", UnsafeEntry)


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_one_huge_header_is_refused_before_it_is_read(scene, archive, kind):
    info, _ = archive.member("header", kind)
    info.size = 8 << 30

    scene.refuses(info.tobuf(tarfile.GNU_FORMAT), "an extended header of", UnsafeEntry)


def test_headers_without_end_are_refused(scene, archive):
    info, _ = archive.member("header", b"g")
    endless = info.tobuf() * 10_000

    scene.refuses(endless, "more than 16 extended headers", UnsafeEntry)


def test_a_sparse_map_without_end_is_refused(scene, archive):
    info, _ = archive.file("s", b"")
    info.pax_headers = {"GNU.sparse.size": "1", "GNU.sparse.map": ",".join(["0"] * 200_000)}

    scene.refuses(archive.of((info, b"")), "sparse file of more than 65536", UnsafeEntry)


def test_a_numeric_field_of_a_million_digits_is_refused(scene, archive):
    info, _ = archive.file("s", b"")
    info.pax_headers = {"size": "9" * 900_000}

    scene.refuses(archive.of((info, b"")), "a damaged PAX header")


def test_xz_that_wants_gigabytes_of_memory_is_refused(scene, archive):
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 30}]
    greedy = bytearray(lzma.compress(archive.of(archive.file("x")), filters=filters))

    scene.refuses(bytes(greedy), "xz")
