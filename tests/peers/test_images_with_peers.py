"""Images of umoci, skopeo, buildah and podman are to us what they are to them, and ours to them.

The judge is ``umoci unpack``: a whole root, to be compared file by file with our layers under one
overlay.  Everything lives in the test's own directory, podman's and buildah's stores too.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from pictures.trees import fill_first, run, same, tree

from newroot.engine import Engine
from newroot.images.archive import load_archive
from newroot.images.bootstrap import bootstrap_busybox
from newroot.images.store import ImageStore
from newroot.testing.needs import needs

pytestmark = [needs("root", "umoci", "skopeo"), pytest.mark.timeout(300)]


# ── theirs to us ─────────────────────────────────────────────────────────────────────────────


def test_a_layout_of_umoci_s_is_the_same_tree(layout, expected, tmp_path):
    (image,) = load_archive(ImageStore(tmp_path / "root"), layout)

    assert ["sh"] == image.config["config"]["Cmd"]
    assert 3 == len(image.layers)
    same(expected, image, tmp_path)


@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive"])
@pytest.mark.parametrize("compress", [False, True])
def test_an_archive_of_skopeo_s_is_the_same_tree(layout, expected, tmp_path, transport, compress):
    archive = tmp_path / "image.tar"
    run("skopeo", "copy", f"oci:{layout}:it", f"{transport}:{archive}:quay.io/a/it:1")
    if compress:
        run("gzip", "-1", archive)
        archive = tmp_path / "image.tar.gz"
    (image,) = load_archive(ImageStore(tmp_path / "root"), archive)

    assert "quay.io/a/it:1" == image.reference
    same(expected, image, tmp_path)


def test_a_layout_of_zstd_layers_is_the_same_tree(layout, expected, tmp_path):
    zstd = tmp_path / "zstd"
    plain = f"dir:{tmp_path}/dir"
    how = ["--dest-compress", "--dest-compress-format", "zstd"]
    run("skopeo", "copy", *how, f"oci:{layout}:it", plain)
    run("skopeo", "copy", plain, f"oci:{zstd}:it")
    (image,) = load_archive(ImageStore(tmp_path / "root"), zstd)

    blobs = [path.read_bytes()[:4] for path in (zstd / "blobs/sha256").iterdir()]
    assert 3 == blobs.count(b"\x28\xb5\x2f\xfd")
    same(expected, image, tmp_path)


@needs("podman")
@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_what_podman_saves_is_the_same_tree(layout, expected, tmp_path, containers, form):
    podman = ["podman", *containers]
    run("skopeo", "copy", f"oci:{layout}:it", f"docker-archive:{tmp_path}/in.tar:localhost/it:1")
    run(*podman, "load", "-i", tmp_path / "in.tar")
    run(*podman, "save", "--format", form, "-o", tmp_path / "out.tar", "localhost/it:1")
    store = ImageStore(tmp_path / "root")
    (image,) = load_archive(store, tmp_path / "out.tar")

    assert image == store.get("it:1")
    same(expected, image, tmp_path)


@needs("buildah")
@pytest.mark.parametrize("form", ["docker", "oci"])
def test_what_buildah_commits_is_the_same_tree(tmp_path, containers, form):
    buildah = ["buildah", *containers]
    container = run(*buildah, "from", "scratch").strip()
    root = Path(run(*buildah, "mount", container).strip())
    fill_first(root)
    run(*buildah, "umount", container)
    run(*buildah, "config", "--cmd", "sh", container)
    archive = f"{form}-archive:{tmp_path}/out.tar:localhost/built:1"
    run(*buildah, "commit", "--format", form, container, archive)
    run("skopeo", "copy", f"{form}-archive:{tmp_path}/out.tar", f"oci:{tmp_path}/oci:built")
    run("umoci", "unpack", "--image", f"{tmp_path}/oci:built", tmp_path / "bundle")
    (image,) = load_archive(ImageStore(tmp_path / "root"), tmp_path / "out.tar")

    assert "localhost/built:1" == image.reference
    same(tree(tmp_path / "bundle/rootfs"), image, tmp_path)


# ── ours to them ─────────────────────────────────────────────────────────────────────────────


def test_our_store_is_a_layout_to_skopeo_and_umoci(layout, expected, tmp_path):
    store = ImageStore(tmp_path / "root")
    image = bootstrap_busybox(store)
    load_archive(store, layout, name="quay.io/a/it:1")

    inspected = json.loads(run("skopeo", "inspect", f"oci:{store.images}:{image.reference}"))
    assert image.digest == inspected["Digest"]
    listed = run("umoci", "ls", "--layout", store.images).split()
    assert ["docker.io/library/busybox:latest", "quay.io/a/it:1"] == listed
    run("umoci", "unpack", "--image", f"{store.images}:quay.io/a/it:1", tmp_path / "bundle")
    assert expected == tree(tmp_path / "bundle/rootfs")


def test_what_skopeo_copies_into_our_store_needs_only_unpacking(layout, expected, tmp_path):
    store = ImageStore(tmp_path / "root")
    bootstrap_busybox(store)
    run("skopeo", "copy", f"oci:{layout}:it", f"oci:{store.images}:localhost/it:latest")
    load_archive(store, store.images)

    same(expected, store.get("it"), tmp_path)
    assert store.get("busybox")


def test_ours_and_umoci_s_busybox_are_the_same_tree(tmp_path):
    store = ImageStore(tmp_path / "root")
    image = bootstrap_busybox(store)
    run("umoci", "unpack", "--image", f"{store.images}:{image.reference}", tmp_path / "bundle")

    same(tree(tmp_path / "bundle/rootfs"), image, tmp_path)


@pytest.fixture
def changed(layout: Path, tmp_path: Path) -> tuple[Engine, dict[str, object]]:
    """An engine with a container ``c`` on the image ``it``, and what its root shows."""
    engine = Engine(tmp_path / "root", run_root=str(tmp_path / "run"))
    (image,) = load_archive(engine.images, layout)
    storage = engine.storage
    storage.prepare()
    container_id = "c" * 64
    directory = Path(storage.directory(container_id))
    for name in ("upper", "work", "merged"):
        (directory / name).mkdir(parents=True)
    lower = ":".join(image.layers)
    options = f"lowerdir={lower},upperdir={directory}/upper,workdir={directory}/work"
    run("mount", "-t", "overlay", "overlay", "-o", options, directory / "merged")
    try:
        root = directory / "merged"
        change_much(root)
        shown = tree(root)
    finally:
        run("umount", directory / "merged")
    record = {"id": container_id, "source": "it", "lower": list(image.layers), "command": ["sh"]}
    storage.write(container_id, "record.json", {**record, "name": None, "created": 1.0})
    return engine, shown


def change_much(root: Path) -> None:
    run("rm", "-r", root / "var", root / "etc", root / "sparse")
    (root / "etc").mkdir(mode=0o711)
    (root / "etc/only").write_text("what is left")
    os.link(root / "usr/lib/hard", root / "usr/third")
    os.setxattr(root / "usr/lib/added", "user.note", b"two\nlines=\0")
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(root / "usr/lib/added", "security.capability", capability)
    os.mknod(root / "full", stat.S_IFCHR | 0o606, os.makedev(1, 7))
    os.chmod(root / "full", 0o606)
    (root / "lib").unlink()
    (root / "lib").mkdir()
    (root / "gone/again").rename(root / "moved")
    os.chown(root / "opaque", 7, 8)
    with open(root / "holes", "wb") as file:
        file.seek(4 << 20)
        file.write(b"x" * 5000)
        file.truncate(16 << 20)
    raw = bytes(os.fsencode(root))
    os.makedirs(raw + b"/" + b"/".join([b"\xe9long" * 30] * 3))
    os.utime(root / "moved", ns=(0, 1_234_567_890_123_456_789))


def without_times(shown: dict[str, object]) -> dict[str, object]:
    """*shown* but for times and the root itself, which podman makes anew."""
    return {
        key: (*value[:4], *value[5:]) if isinstance(value, tuple) else value
        for key, value in shown.items()
        if key != "."
    }


def unpacked(source: str, directory: Path) -> dict[str, object]:
    run("umoci", "unpack", "--image", source, directory)
    return tree(directory / "rootfs")


def test_what_we_commit_is_the_same_tree_to_us_and_to_umoci(changed, tmp_path):
    engine, shown = changed
    image = engine.commit("c" * 64, "new:1")

    same(shown, image, tmp_path)
    assert shown == unpacked(f"{engine.images.images}:{image.reference}", tmp_path / "bundle")


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_what_we_save_is_the_same_tree_to_skopeo_and_umoci(changed, tmp_path, form):
    engine, shown = changed
    engine.commit("c" * 64, "new:1")
    engine.save(["new:1"], tmp_path / "a.tar", format=form)
    name = "docker.io/library/new:1"
    run("skopeo", "copy", f"{form}:{tmp_path}/a.tar:{name}", f"oci:{tmp_path}/oci:it")

    assert shown == unpacked(f"{tmp_path}/oci:it", tmp_path / "bundle")


@needs("podman")
@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_what_we_save_podman_loads_with_its_name(changed, tmp_path, containers, form):
    engine, shown = changed
    engine.commit("c" * 64, "quay.io/a/new:1")
    engine.save(["quay.io/a/new:1"], tmp_path / "a.tar", format=form)
    podman = ["podman", *containers]
    run(*podman, "load", "-i", tmp_path / "a.tar")
    mounted = Path(run(*podman, "image", "mount", "quay.io/a/new:1").strip())

    # Times of podman's own tree are whole seconds.
    assert without_times(shown) == without_times(tree(mounted))


@needs("buildah")
def test_what_we_save_buildah_builds_on(changed, tmp_path, containers):
    engine, shown = changed
    engine.commit("c" * 64, "quay.io/a/new:1")
    engine.save(["quay.io/a/new:1"], tmp_path / "a.tar")
    buildah = ["buildah", *containers]
    run(*buildah, "pull", f"docker-archive:{tmp_path}/a.tar")
    container = run(*buildah, "from", "--pull-never", "quay.io/a/new:1").strip()
    root = Path(run(*buildah, "mount", container).strip())

    assert without_times(shown) == without_times(tree(root))


def test_what_we_export_is_the_same_tree_to_gnu_tar(changed, tmp_path):
    engine, shown = changed
    engine.export("c" * 64, tmp_path / "flat.tar")
    (tmp_path / "out").mkdir()
    how = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "-p", "-S"]
    run("tar", *how, "-x", "-f", tmp_path / "flat.tar", "-C", tmp_path / "out")
    found = tree(tmp_path / "out")
    shown.pop("."), found.pop(".")

    assert shown == found
