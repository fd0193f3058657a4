"""A directory that becomes a link after it was looked at would carry the next entry out.

What was once seen to be a directory is remembered; so replacing one must make us forget.
"""

from __future__ import annotations

from newroot.errors import UnsafeEntry


def test_a_directory_replaced_by_a_link_is_forgotten(scene, archive):
    layer = scene.contains(
        archive.of(
            archive.directory("d"),
            archive.file("d/first"),
            archive.symlink("d", str(scene.host)),
            archive.file("d/secret"),
        )
    )

    assert "a host file" == (scene.host / "secret").read_text(), "HOST PATH WAS CHANGED"
    assert (layer / "d").is_symlink()
    assert (layer / str(scene.host).lstrip("/") / "secret").is_file()


def test_a_directory_below_a_replaced_one_is_forgotten_too(scene, archive):
    layer = scene.contains(
        archive.of(
            archive.file("a/b/c/first"),
            archive.symlink("a", "other"),
            archive.file("a/b/c/second"),
        )
    )

    assert (layer / "other/b/c/second").is_file()
    assert not (layer / "other/b/c/first").exists()


def test_a_link_replaced_by_a_link_is_read_anew(scene, archive):
    layer = scene.contains(
        archive.of(
            archive.symlink("a", "one"),
            archive.file("a/x"),
            archive.symlink("a", "two"),
            archive.file("a/y"),
        )
    )

    assert (layer / "one/x").is_file()
    assert (layer / "two/y").is_file()


def test_metadata_of_a_replaced_directory_reaches_nothing(scene, archive):
    layer = scene.contains(
        archive.of(archive.directory("d", mode=0o777), archive.symlink("d", str(scene.host)))
    )

    assert (layer / "d").is_symlink()


def test_replacing_directories_without_end_is_refused(scene, archive):
    members = []
    for _ in range(1002):
        members += [archive.directory("d"), archive.file("d", b"")]

    scene.refuses(archive.of(*members), "directories are replaced", UnsafeEntry)
