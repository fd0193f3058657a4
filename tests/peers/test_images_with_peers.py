"""Images of umoci, skopeo, buildah and podman are to us what they are to them, and ours to them.

The judge is ``umoci unpack``: a whole root, to be compared file by file with our layers under one
overlay.  Everything lives in the test's own directory, podman's and buildah's stores too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from newroot.engine import Engine
from newroot.images.archive import load_archive
from newroot.images.bootstrap import bootstrap_busybox
from newroot.images.store import Image, ImageStore
from newroot.testing.needs import needs

pytestmark = [needs("root", "umoci", "skopeo"), pytest.mark.timeout(300)]


def run(*command: object, **options) -> str:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, **options
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


# ── an image with one of everything ──────────────────────────────────────────────────────────


def fill_first(root: Path) -> None:
    for name in ("etc", "usr/lib", "gone", "opaque/old", "becomes-file", "var/empty"):
        (root / name).mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    os.chown(root / "etc/passwd", 12, 34)
    (root / "usr/lib/setuid").write_bytes(b"x" * 100_000)
    os.chmod(root / "usr/lib/setuid", 0o4711)
    os.link(root / "usr/lib/setuid", root / "usr/lib/hard")
    os.symlink("/etc/passwd", root / "absolute")
    os.symlink("usr/lib", root / "lib")
    os.mkfifo(root / "fifo", 0o620)
    os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.setxattr(root / "etc", "user.note", b"a directory")
    os.setxattr(root / "etc/passwd", "user.note", b"two\nlines")
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(root / "etc/passwd", "security.capability", capability)
    (root / ("long" * 40)).write_text("a long name")
    os.makedirs(root / "/".join(["deep" * 20] * 8))
    Path(os.fsdecode(bytes(os.fsencode(root)) + b"/caf\xe9")).write_text("no text")
    with open(root / "sparse", "wb") as file:
        file.seek(8 << 20)
        file.write(b"end")
    (root / "gone/file").write_text("x")
    (root / "opaque/old/file").write_text("x")
    (root / "replaced").write_text("old")
    os.chmod(root / "var/empty", 0o1777)
    for path in (root / "etc/passwd", root / "var/empty"):
        os.utime(path, ns=(0, 1_600_000_000_123_456_789))


def fill_second(root: Path) -> None:
    run("rm", "-r", root / "gone", root / "opaque", root / "becomes-file")
    (root / "opaque").mkdir(mode=0o750)
    (root / "opaque/new").write_text("new")
    (root / "becomes-file").write_text("now a file")
    (root / "replaced").unlink()
    (root / "replaced").mkdir()
    (root / "replaced/now").write_text("a directory")
    (root / "usr/lib/added").write_text("added")


def fill_third(root: Path) -> None:
    (root / "replaced/now").unlink()
    os.chmod(root / "usr/lib/added", 0o600)
    (root / "gone").mkdir()
    (root / "gone/again").write_text("x")


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI layout of three layers, made by umoci, tagged ``it``."""
    directory = tmp_path_factory.mktemp("umoci")
    layout = directory / "layout"
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", "--image", f"{layout}:it")
    for number, fill in enumerate((fill_first, fill_second, fill_third)):
        bundle = directory / f"bundle{number}"
        run("umoci", "unpack", "--image", f"{layout}:it", bundle)
        fill(bundle / "rootfs")
        run("umoci", "repack", "--image", f"{layout}:it", bundle)
    run("umoci", "config", "--image", f"{layout}:it", "--config.cmd", "sh")
    return layout


@pytest.fixture(scope="module")
def expected(layout: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    bundle = tmp_path_factory.mktemp("expected") / "bundle"
    run("umoci", "unpack", "--image", f"{layout}:it", bundle)
    return tree(bundle / "rootfs")


def tree(root: Path) -> dict[str, object]:
    """Everything that a container could see of a root."""
    found: dict[str, object] = {}
    links: dict[tuple[int, int], list[str]] = {}
    for directory, names, files in os.walk(root):
        for name in ["", *files, *(n for n in names if os.path.islink(os.path.join(directory, n)))]:
            path = os.path.join(directory, name).rstrip("/")
            status = os.lstat(path)
            key = os.path.relpath(path, root)
            found[key] = describe(path, status)
            if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
                links.setdefault((status.st_dev, status.st_ino), []).append(key)
    # An overlay goes on counting the links of a file that it has copied up.
    found["hard links"] = sorted(sorted(group) for group in links.values() if len(group) > 1)
    return found


def describe(path: str, status: os.stat_result) -> tuple[object, ...]:
    content: object = None
    if stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)
    elif stat.S_ISREG(status.st_mode):
        content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    xattrs = {
        key: os.getxattr(path, key, follow_symlinks=False)
        for key in os.listxattr(path, follow_symlinks=False)
        if ".overlay." not in key
    }
    times = None if os.path.basename(path) in ("rootfs", "merged") else status.st_mtime_ns
    return (
        oct(status.st_mode),
        status.st_uid,
        status.st_gid,
        status.st_rdev,
        times,
        content,
        xattrs,
    )


@contextlib.contextmanager
def merged(image: Image, directory: Path) -> Iterator[Path]:
    """An image's layers under one overlay, read-only."""
    target, empty = directory / "merged", directory / "empty"
    target.mkdir()
    empty.mkdir()
    lower = ":".join([*image.layers, str(empty)])  # two at least, or it needs an upper
    run("mount", "-t", "overlay", "overlay", "-o", f"ro,lowerdir={lower}", target)
    try:
        yield target
    finally:
        run("umount", target)


def same(expected: dict[str, object], image: Image, directory: Path) -> None:
    with merged(image, directory) as root:
        ours = tree(root)
    differing = {
        key: (expected.get(key), ours.get(key))
        for key in expected.keys() | ours.keys()
        if expected.get(key) != ours.get(key)
    }

    assert {} == differing


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


@pytest.fixture
def containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """podman's and buildah's global options for stores of their own."""
    policy = tmp_path / "containers.conf"
    policy.write_text(
        '[containers]\ndefault_ulimits=["nofile=4096:4096","nproc=1000:1000"]\n'
        '[engine]\nruntime="runc"\ncgroup_manager="cgroupfs"\nevents_logger="file"\n'
    )
    monkeypatch.setenv("CONTAINERS_CONF", str(policy))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    # podman refuses a run root of more than 50 characters.
    with tempfile.TemporaryDirectory(prefix="nr-", dir="/tmp") as short:
        yield ["--root", f"{tmp_path}/s", "--runroot", f"{short}/r", "--storage-driver", "vfs"]


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
