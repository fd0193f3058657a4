"""Whiteouts name a file to hide; a crafted one would name a directory above, or the root."""

from __future__ import annotations

import pytest

from newroot.errors import UnsafeEntry


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "a/.wh...", "a/.wh.."])
def test_a_whiteout_of_a_dot_or_of_nothing_is_refused(scene, archive, name):
    scene.refuses(archive.of(archive.file(name, b"")), "a whiteout of nothing", UnsafeEntry)


def test_an_entry_below_a_whiteout_is_refused(scene, archive):
    scene.refuses(archive.of(archive.file(".wh.a/b")), "it lies below a whiteout", UnsafeEntry)


def test_a_whiteout_through_a_climbing_link_is_refused(scene, archive):
    scene.refuses(
        archive.of(archive.symlink("l", "../.."), archive.file("l/.wh.host", b"")),
        "climbs above the root",
        UnsafeEntry,
    )


def test_a_whiteout_through_an_absolute_link_stays_inside(scene, archive):
    layer = scene.contains(
        archive.of(archive.symlink("l", str(scene.host)), archive.file("l/.wh.secret", b""))
    )

    assert (scene.host / "secret").exists(), "HOST FILE WAS REMOVED"
    assert (layer / str(scene.host).lstrip("/") / "secret").is_char_device()


def test_an_opaque_mark_through_a_climbing_link_is_refused(scene, archive):
    scene.refuses(
        archive.of(archive.symlink("l", "../.."), archive.file("l/.wh..wh..opq", b"")),
        "climbs above the root",
        UnsafeEntry,
    )
