"""Entries that no honest tar holds."""

from __future__ import annotations

import tarfile

import pytest

from newroot.errors import ImageError, UnsafeEntry


@pytest.mark.parametrize("name", ["", "./", "/"])
def test_the_root_is_replaced_by_nothing(scene, archive, name):
    kind = UnsafeEntry
    words = {"": "it has no name", "./": "replace the root", "/": "absolute"}[name]

    scene.refuses(archive.of(archive.symlink(name, str(scene.host))), words, kind)


def test_an_owner_that_chown_reads_as_leave_it_is_refused(scene, archive):
    scene.refuses(
        archive.of(archive.file("x", uid=0xFFFFFFFF), format=tarfile.GNU_FORMAT), "no owner can be"
    )


def test_a_negative_size_is_refused(scene, archive):
    info, _ = archive.file("x", b"")
    info.size = -512
    block = info.tobuf(tarfile.GNU_FORMAT)

    scene.refuses(block + bytes(1024), "negative size")


def test_an_unknown_type_is_refused(scene, archive):
    scene.refuses(archive.of(archive.member("x", b"Q")), "unknown type b'Q'", ImageError)


def test_a_nul_in_a_pax_name_is_refused(scene, archive):
    info, _ = archive.file("x", b"")
    info.pax_headers = {"path": "a\0b"}

    scene.refuses(archive.of((info, b"")), "NUL", UnsafeEntry)


def test_control_characters_in_a_name_do_not_reach_the_terminal(scene, archive):
    error = scene.refuses(archive.of(archive.file("../\x1b[2J\nevil")), "climbs above")

    assert "\x1b" not in str(error)


def test_a_time_beyond_time_is_clamped(scene, archive):
    info, data = archive.file("x")
    info.pax_headers = {"mtime": "9" * 20}
    layer = scene.contains(archive.of((info, data)))

    assert (layer / "x").exists()
