"""What a layer is said to do is what it does to the tree that is seen."""

from __future__ import annotations

import json
import os
from pathlib import Path

from newroot.observe.layers import contents
from newroot.observe.overlay import Layer
from newroot.observe.stores import foreign_layers
from newroot.testing.needs import needs


def make(directory: Path, *names: str) -> str:
    directory.mkdir(exist_ok=True)
    for name in names:
        path = directory / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(5000))
    return str(directory)


def test_what_is_added_and_what_is_replaced_is_told_apart(tmp_path: Path) -> None:
    lower = make(tmp_path / "lower", "etc/a", "etc/b", "bin/")
    upper = make(tmp_path / "upper", "etc/b", "etc/c", "etc/new/deep")
    top, bottom = contents((upper, lower))

    assert (bottom.added, bottom.replaced, bottom.deleted, bottom.hidden) == (4, 0, 0, 0)
    assert (top.added, top.replaced, top.deleted, top.hidden) == (3, 1, 0, 0)
    assert top.examples == (("~", "/etc/b"),)
    assert top.size_bytes >= 15000
    assert top.whole


def test_a_file_with_two_names_counts_once_in_size(tmp_path: Path) -> None:
    one = contents((make(tmp_path / "one", "a"),))[0]
    os.link(tmp_path / "one/a", tmp_path / "one/b")

    assert contents((str(tmp_path / "one"),))[0].size_bytes == one.size_bytes


@needs("root")
def test_a_whiteout_deletes_all_that_is_below_it(tmp_path: Path) -> None:
    lower = make(tmp_path / "lower", "d/x/1", "d/x/2", "keep")
    upper = make(tmp_path / "upper")
    os.mknod(f"{upper}/d", 0o020000, os.makedev(0, 0))
    os.mknod(f"{upper}/never", 0o020000, os.makedev(0, 0))
    top, _ = contents((upper, lower))

    assert (top.deleted, top.added, top.hidden) == (4, 0, 0)
    assert top.examples == (("-", "/d"),)


@needs("root")
def test_an_opaque_directory_hides_what_was_there_and_keeps_its_own(tmp_path: Path) -> None:
    lower = make(tmp_path / "lower", "d/1", "d/2")
    upper = make(tmp_path / "upper", "d/3", "d/1")
    os.setxattr(f"{upper}/d", "trusted.overlay.opaque", b"y")
    top, _ = contents((upper, lower))

    assert (top.hidden, top.added, top.replaced) == (2, 2, 0)
    assert top.examples == (("-", "/d/*"),)


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    assert not contents((str(tmp_path / "missing"),))[0].whole


def test_a_layer_of_docker_s_store_is_known_by_its_cache_id(tmp_path: Path) -> None:
    # As dockerd 20.10 lays it out.
    diff_id, image = f"sha256:{'a' * 64}", "b" * 64
    database = tmp_path / "image/overlay2"
    for name, text in {
        f"layerdb/sha256/{'c' * 64}/cache-id": "0123abc",
        f"layerdb/sha256/{'c' * 64}/diff": diff_id,
        f"imagedb/content/sha256/{image}": json.dumps({"rootfs": {"diff_ids": [diff_id]}}),
        "repositories.json": json.dumps({"Repositories": {"web": {"web:1": f"sha256:{image}"}}}),
    }.items():
        (database / name).parent.mkdir(parents=True, exist_ok=True)
        (database / name).write_text(text)
    (tmp_path / "overlay2/0123abc/diff").mkdir(parents=True)
    (tmp_path / "overlay2/l").mkdir()
    (tmp_path / "overlay2/l/SHORT").symlink_to("../0123abc/diff")
    link = f"{tmp_path}/overlay2/l/SHORT"

    found = foreign_layers((link, f"{tmp_path}/overlay2/other/diff", "/nowhere"))
    assert found == {link: Layer(diff_id=diff_id, images=("web:1",))}
