"""A name with ``..`` in it would write beside the layer, or anywhere on the host."""

from __future__ import annotations

import pytest

from newroot.errors import UnsafeEntry


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "./../evil", "a/b/../../../evil", "..", "a/../.."]
)
def test_a_name_that_climbs_above_the_root_is_refused(scene, archive, name):
    entry = archive.file(name) if not name.endswith("..") else archive.directory(name)

    scene.refuses(archive.of(archive.directory("a"), entry), "climbs above the root", UnsafeEntry)


def test_dots_that_stay_inside_are_taken_apart(scene, archive):
    layer = scene.contains(archive.of(archive.file("a/./b/../c/evil")))

    assert b"evil" == (layer / "a/c/evil").read_bytes()


def test_a_whiteout_that_climbs_is_refused(scene, archive):
    scene.refuses(archive.of(archive.file("../.wh.host", b"")), "climbs above", UnsafeEntry)


def test_a_directory_that_climbs_cannot_change_the_mode_of_the_store(scene, archive):
    scene.refuses(archive.of(archive.directory("..", mode=0o777)), "climbs above", UnsafeEntry)
