"""An absolute name would write to the host's own /etc."""

from __future__ import annotations

from newroot.errors import UnsafeEntry


def test_a_flat_tar_with_an_absolute_name_is_refused(scene, archive):
    error = scene.refuses(
        archive.of(archive.file(f"{scene.host}/evil")), "its name is absolute", UnsafeEntry
    )

    assert "tar -P" in error.hint


def test_a_layers_absolute_name_is_taken_from_the_layers_root(scene, archive):
    name = f"{scene.host}/secret"
    layer = scene.contains(archive.of(archive.file(name)), absolute_names=True)

    assert "a host file" == (scene.host / "secret").read_text(), "HOST PATH WAS CHANGED"
    assert b"evil" == (layer / name.lstrip("/")).read_bytes()


def test_many_slashes_are_no_way_out(scene, archive):
    layer = scene.contains(archive.of(archive.file("//evil")), absolute_names=True)

    assert (layer / "evil").exists()
