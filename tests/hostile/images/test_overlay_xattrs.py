"""``trusted.overlay.redirect`` from an archive would let a directory show another one.

overlayfs believes these attributes on a lower layer, so none may come out of an archive as it is.
"""

from __future__ import annotations

import os

import pytest

from newroot.testing.needs import needs


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("trusted.overlay.redirect", marks=needs("root")),
        pytest.param("trusted.overlay.opaque", marks=needs("root")),
        pytest.param("trusted.overlay.metacopy", marks=needs("root")),
        "user.overlay.opaque",
        "user.overlay.redirect",
    ],
)
@pytest.mark.parametrize("kind", ["file", "directory"])
def test_an_overlay_attribute_is_escaped(scene, archive, key, kind):
    entry = getattr(archive, kind)("x", pax_headers={f"SCHILY.xattr.{key}": "y"})
    layer = scene.contains(archive.of(entry))

    space, _, rest = key.partition(".overlay.")
    assert [f"{space}.overlay.overlay.{rest}"] == os.listxattr(layer / "x"), "OVERLAY WAS TOLD LIES"


def test_labels_of_the_makers_machine_are_left_behind(scene, archive):
    entry = archive.file("x", pax_headers={"SCHILY.xattr.security.selinux": "u:r:t:s0"})
    layer = scene.contains(archive.of(entry))

    assert "security.selinux" not in os.listxattr(layer / "x")
