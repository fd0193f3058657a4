"""A symbolic link, then an entry below it, would write where the link points.

CVE-2014-9356 (docker), CVE-2018-15664 and many a tar after them.
"""

from __future__ import annotations

from newroot.errors import ImageError, UnsafeEntry


def test_an_absolute_link_leads_to_the_layers_own_directory(scene, archive):
    layer = scene.contains(
        archive.of(archive.symlink("link", str(scene.host)), archive.file("link/secret"))
    )

    assert "a host file" == (scene.host / "secret").read_text(), "HOST PATH WAS CHANGED"
    assert b"evil" == (layer / str(scene.host).lstrip("/") / "secret").read_bytes()


def test_a_relative_link_that_climbs_above_the_root_is_refused(scene, archive):
    scene.refuses(
        archive.of(archive.symlink("link", "../../../../host"), archive.file("link/secret")),
        "a symbolic link on its way climbs above the root",
        UnsafeEntry,
    )


def test_a_chain_of_links_leads_no_further_than_one(scene, archive):
    scene.refuses(
        archive.of(
            archive.directory("d"),
            archive.symlink("d/up", ".."),
            archive.symlink("up2", "d/up/.."),
            archive.file("up2/evil"),
        ),
        "climbs above the root",
        UnsafeEntry,
    )


def test_a_relative_link_inside_is_followed(scene, archive):
    layer = scene.contains(
        archive.of(
            archive.directory("usr/lib"),
            archive.symlink("usr/lib64", "../usr/lib"),
            archive.file("usr/lib64/x"),
        )
    )

    assert (layer / "usr/lib/x").is_file()
    assert (layer / "usr/lib64").is_symlink()


def test_a_link_to_what_is_not_there_makes_it_inside(scene, archive):
    layer = scene.contains(
        archive.of(archive.symlink("run", "/var/run"), archive.file("run/x/pid"))
    )

    assert (layer / "var/run/x/pid").is_file()


def test_a_loop_of_links_ends(scene, archive):
    scene.refuses(
        archive.of(archive.symlink("a", "b"), archive.symlink("b", "a"), archive.file("a/evil")),
        "too many symbolic links",
        UnsafeEntry,
    )


def test_a_file_is_no_directory(scene, archive):
    scene.refuses(
        archive.of(archive.file("a"), archive.file("a/b")),
        "'a' above it is not a directory",
        ImageError,
    )


def test_a_last_component_that_is_a_link_is_replaced_and_not_followed(scene, archive):
    layer = scene.contains(
        archive.of(archive.symlink("x", str(scene.host / "secret")), archive.file("x"))
    )

    assert "a host file" == (scene.host / "secret").read_text(), "HOST PATH WAS CHANGED"
    assert not (layer / "x").is_symlink()


def test_metadata_of_a_link_stays_off_its_target(scene, archive):
    link = archive.symlink("x", str(scene.host / "secret"))
    link[0].mode = 0o4777
    link[0].mtime = 1

    scene.contains(archive.of(link))
