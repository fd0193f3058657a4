"""A hard link to a host file would let the container write it, or read it in the next layer."""

from __future__ import annotations

import os

import pytest

from newroot.errors import ImageError, UnsafeEntry


@pytest.mark.parametrize("target", ["../../../host/secret", "a/../../../../host/secret"])
def test_a_link_that_climbs_is_refused(scene, archive, target):
    scene.refuses(archive.of(archive.hard_link("evil", target)), "climbs above", UnsafeEntry)


def test_an_absolute_target_is_looked_for_in_the_layer(scene, archive):
    scene.refuses(
        archive.of(archive.hard_link("evil", str(scene.host / "secret"))),
        "which this layer does not have",
        ImageError,
    )


def test_a_target_below_a_link_is_looked_for_in_the_layer(scene, archive):
    scene.refuses(
        archive.of(
            archive.symlink("out", str(scene.host)), archive.hard_link("evil", "out/secret")
        ),
        "which this layer does not have",
        ImageError,
    )


def test_a_target_below_a_climbing_link_is_refused(scene, archive):
    scene.refuses(
        archive.of(
            archive.symlink("out", "../../../../host"), archive.hard_link("evil", "out/secret")
        ),
        "climbs above the root",
        UnsafeEntry,
    )


def test_a_link_to_a_symbolic_link_is_one_more_symbolic_link(scene, archive):
    secret = str(scene.host / "secret")
    layer = scene.contains(
        archive.of(archive.symlink("s", secret), archive.hard_link("h", "s"), archive.file("h"))
    )

    assert 1 == os.stat(secret).st_nlink, "HOST FILE WAS LINKED"
    assert secret == os.readlink(layer / "s")
    assert not (layer / "h").is_symlink()


def test_a_link_to_a_directory_is_refused(scene, archive):
    scene.refuses(
        archive.of(archive.directory("d"), archive.hard_link("h", "d")),
        "a hard link to a directory",
    )


def test_a_link_to_the_root_is_refused(scene, archive):
    scene.refuses(archive.of(archive.hard_link("h", "./")), "a hard link to the root")


def test_a_link_to_a_whiteout_would_hide_what_nobody_removed(scene, archive):
    scene.refuses(
        archive.of(archive.file(".wh.gone", b""), archive.hard_link("bin", "gone")),
        "a hard link to a whiteout",
    )


def test_a_link_to_itself_keeps_the_file(scene, archive):
    layer = scene.contains(archive.of(archive.file("f", b"data"), archive.hard_link("f", "./f")))

    assert b"data" == (layer / "f").read_bytes()
