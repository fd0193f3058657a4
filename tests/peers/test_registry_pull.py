"""What others push we pull as they unpack it, and what we push they read: a real registry between.

The images are made by umoci, buildah, podman and skopeo; the judge is ``umoci unpack`` again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pictures.trees import fill_first, run, same, tree
from registries.server import Server, serve

import newroot
from newroot.engine import Engine
from newroot.images.bootstrap import bootstrap_busybox
from newroot.images.flat import import_tar
from newroot.images.registry.progress import Progress
from newroot.images.store import ImageStore
from newroot.testing.needs import needs

pytestmark = [
    needs("root", "umoci", "skopeo", "docker-registry"),
    pytest.mark.timeout(300),
]
SOURCE = str(Path(newroot.__file__).parent.parent)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(tmp_path / "root", run_root=str(tmp_path / "run")) as engine:
        yield engine


def skopeo_push(source: str, destination: str, *options: str) -> None:
    run("skopeo", "copy", "-q", "--dest-tls-verify=false", *options, source, destination)


def newroot_command(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "newroot.cli.main", "--root", str(root), *words],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": SOURCE}, check=False,
    )  # fmt: skip


# ── theirs to us ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_an_image_of_umoci_s_is_the_same_tree(registry, layout, expected, engine, tmp_path, form):
    name = f"{registry.host}/umoci/{form}:1"
    skopeo_push(f"oci:{layout}:it", f"docker://{name}", "--format", form)
    image = engine.pull(name, tls_verify=False)

    assert name == image.reference
    assert ["sh"] == image.config["config"]["Cmd"]
    same(expected, image, tmp_path)
    assert image == engine.images.get(name)


@pytest.mark.parametrize("how", ["zstd", "uncompressed"])
def test_zstd_and_plain_layers_are_the_same_tree(registry, layout, expected, engine, tmp_path, how):
    name = f"{registry.host}/umoci/{how}:1"
    if how == "zstd":
        options = ["--dest-compress", "--dest-compress-format", "zstd"]
        run("skopeo", "copy", *options, f"oci:{layout}:it", f"dir:{tmp_path}/dir")
    else:
        run("skopeo", "copy", "--dest-decompress", f"oci:{layout}:it", f"dir:{tmp_path}/dir")
    # skopeo would compress anew what goes straight to a registry.
    run("skopeo", "copy", f"dir:{tmp_path}/dir", f"oci:{tmp_path}/oci:it")
    _push_layout(registry, tmp_path / "oci", name)
    image = engine.pull(name, tls_verify=False)

    kinds = {blob.read_bytes()[:4] for blob in Path(engine.images.images, "blobs/sha256").iterdir()}
    assert (b"\x28\xb5\x2f\xfd" in kinds) == (how == "zstd")
    same(expected, image, tmp_path)


def _push_layout(registry: Server, layout: Path, name: str) -> None:
    """Push a layout with its blobs as they are: skopeo preserves digests on its own request."""
    skopeo_push(f"oci:{layout}:it", f"docker://{name}", "--preserve-digests")


@needs("buildah")
def test_what_buildah_pushes_is_the_same_tree(registry, engine, tmp_path, containers):
    name = f"{registry.host}/buildah:1"
    buildah = ["buildah", *containers]
    container = run(*buildah, "from", "scratch").strip()
    root = Path(run(*buildah, "mount", container).strip())
    fill_first(root)
    run(*buildah, "umount", container)
    run(*buildah, "commit", container, "localhost/built:1")
    run(*buildah, "push", "-q", "--tls-verify=false", "localhost/built:1", f"docker://{name}")
    run("skopeo", "copy", "--src-tls-verify=false", f"docker://{name}", f"oci:{tmp_path}/oci:it")
    run("umoci", "unpack", "--image", f"{tmp_path}/oci:it", tmp_path / "bundle")

    same(tree(tmp_path / "bundle/rootfs"), engine.pull(name, tls_verify=False), tmp_path)


def test_an_image_of_127_layers_arrives_whole(registry, engine, tmp_path):
    maker = ImageStore(tmp_path / "maker")
    digests = _many_layers(maker, tmp_path, 127)
    name = f"{registry.host}/many:1"
    skopeo_push(f"oci:{maker.images}:many", f"docker://{name}")
    image = engine.pull(name, tls_verify=False)

    assert 127 == digests == len(image.layers)
    found = engine.run(name, ["/bin/busybox", "cat", "/layer-0", "/layer-126"], capture_output=True)
    assert b"0\n126\n" == found.stdout


def _many_layers(store: ImageStore, directory: Path, count: int) -> int:
    """An image of *count* layers called ``many``, its lowest a busybox."""
    busybox = bootstrap_busybox(store, "busybox")
    blobs = Path(store.images) / "blobs/sha256"
    manifest = json.loads((blobs / busybox.digest[7:]).read_text())
    config = json.loads((blobs / manifest["config"]["digest"][7:]).read_text())
    for number in range(count):
        if number == count - 1:
            break
        path = directory / f"layer-{number}.tar"
        with tarfile.open(path, "w") as tar:
            for name in [f"layer-{number}", *(["layer-126"] if number == 125 else [])]:
                file = directory / name
                file.write_text(f"{name.removeprefix('layer-')}\n")
                tar.add(file, arcname=name)
        one = import_tar(store, path, f"layer:{number}", created="1970-01-01T00:00:00Z")
        inner = json.loads((blobs / one.digest[7:]).read_text())
        diff_ids = json.loads((blobs / inner["config"]["digest"][7:]).read_text())["rootfs"]
        manifest["layers"] += inner["layers"]
        config["rootfs"]["diff_ids"] += diff_ids["diff_ids"]
    config.pop("history", None)
    manifest["config"] = {**manifest["config"], **_put(blobs, config)}
    index = json.loads((Path(store.images) / "index.json").read_text())
    index["manifests"] = [
        {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            **_put(blobs, manifest),
            "annotations": {"org.opencontainers.image.ref.name": "many"},
        }
    ]
    (Path(store.images) / "index.json").write_text(json.dumps(index))
    return len(manifest["layers"])


def _put(blobs: Path, document: object) -> dict[str, object]:
    import hashlib

    data = json.dumps(document).encode()
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}


@needs("podman")
def test_an_index_gives_each_platform_its_own(registry, engine, tmp_path, containers):
    podman = ["podman", *containers]
    name = f"{registry.host}/multi:1"
    run(*podman, "manifest", "create", "localhost/multi")
    for architecture in ("amd64", "arm64", "riscv64"):
        store = ImageStore(tmp_path / architecture)
        path = tmp_path / f"{architecture}.tar"
        (tmp_path / "who").write_text(architecture)
        with tarfile.open(path, "w") as tar:
            tar.add(tmp_path / "who", arcname="who")
        import_tar(store, path, f"{architecture}:1", architecture=architecture)
        single = f"{registry.host}/single/{architecture}:1"
        skopeo_push(f"oci:{store.images}:docker.io/library/{architecture}:1", f"docker://{single}")
        run(
            *podman, "manifest", "add", "--tls-verify=false", "--arch", architecture,
            "localhost/multi", f"docker://{single}",
        )  # fmt: skip
    run(*podman, "manifest", "push", "--all", "--tls-verify=false", "localhost/multi",
        f"docker://{name}")  # fmt: skip
    other = engine.pull(name, platform="linux/arm64", tls_verify=False)
    assert "arm64" == (Path(other.layers[0]) / "who").read_text()

    ours = engine.pull(name, tls_verify=False)

    assert os.uname().machine in ("x86_64", "aarch64")
    assert {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine] == (
        Path(ours.layers[0]) / "who"
    ).read_text()
    before = len(registry.requests())
    assert ours == engine.pull(name, tls_verify=False)
    assert ["HEAD /v2/multi/manifests/1"] == registry.requests()[before:]
    with pytest.raises(newroot.ImageError, match="there is no image for linux/s390x") as caught:
        engine.pull(name, platform="linux/s390x", tls_verify=False)
    assert "linux/amd64, linux/arm64, linux/riscv64" in str(caught.value.hint)


# ── little is asked ──────────────────────────────────────────────────────────────────────────


def test_an_unchanged_image_costs_one_request_and_a_known_digest_none(registry, layout, engine):
    name = f"{registry.host}/once:1"
    skopeo_push(f"oci:{layout}:it", f"docker://{name}")
    first = engine.pull(name, tls_verify=False)
    before = len(registry.requests())
    said: list[Progress] = []

    assert first == engine.pull(name, tls_verify=False, on_progress=said.append)
    assert ["HEAD /v2/once/manifests/1"] == registry.requests()[before:]
    assert ["resolved", "exists"] == [each.phase for each in said]
    by_digest = f"{registry.host}/once@{first.digest}"
    engine.pull(by_digest, tls_verify=False)
    before = len(registry.requests())
    assert first.digest == engine.pull(by_digest, tls_verify=False).digest
    assert [] == registry.requests()[before:]


def test_a_moved_tag_brings_only_what_is_new(registry, layout, engine, tmp_path):
    name = f"{registry.host}/moved:1"
    skopeo_push(f"oci:{layout}:it", f"docker://{name}")
    first = engine.pull(name, tls_verify=False)
    copy = tmp_path / "copy"
    run("cp", "-r", layout, copy)
    run("umoci", "config", "--image", f"{copy}:it", "--config.cmd", "other")
    skopeo_push(f"oci:{copy}:it", f"docker://{name}")
    before = len(registry.requests())
    second = engine.pull(name, tls_verify=False)

    assert ["other"] == second.config["config"]["Cmd"]
    assert first.layers == second.layers
    asked = registry.requests()[before:]
    # Look, fetch the manifest, fetch the config: no layer.
    assert ["HEAD", "GET", "GET"] == [request.split()[0] for request in asked], asked
    assert first.digest == engine.images.get(first.digest).digest  # still here, without a name


def test_an_interrupted_pull_goes_on_where_it_was(registry, engine, tmp_path):
    data = os.urandom(6 << 20)
    path = tmp_path / "big.tar"
    (tmp_path / "random").write_bytes(data)
    with tarfile.open(path, "w") as tar:
        tar.add(tmp_path / "random", arcname="random")
    maker = ImageStore(tmp_path / "maker")
    made = import_tar(maker, path, "big:1")
    name = f"{registry.host}/big:1"
    skopeo_push(f"oci:{maker.images}:docker.io/library/big:1", f"docker://{name}",
                "--preserve-digests")  # fmt: skip

    class Enough(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.phase == "downloading" and progress.done_bytes > 2 << 20:
            raise Enough

    with pytest.raises(Enough):
        engine.pull(name, tls_verify=False, on_progress=stop)
    assert engine.images.find(name) is None
    (left,) = [n for n in os.listdir(engine.images.images) if n.startswith(".partial-")]
    kept = os.path.getsize(f"{engine.images.images}/{left}")
    assert kept >= 2 << 20
    # What is wrong in it is found, and fetched anew.
    seen: list[Progress] = []
    image = engine.pull(name, tls_verify=False, on_progress=seen.append)

    assert made.digest == image.digest
    come = [each.done_bytes for each in seen if each.phase in ("downloading", "unpacking")]
    assert kept < come[0] <= kept + (1 << 20)
    assert data == (Path(image.layers[0]) / "random").read_bytes()
    assert [] == [n for n in os.listdir(engine.images.images) if n.startswith(".")]


def test_a_damaged_remainder_is_thrown_away_and_fetched_anew(registry, layout, engine):
    name = f"{registry.host}/damaged:1"
    skopeo_push(f"oci:{layout}:it", f"docker://{name}")
    probe = engine.pull(name, tls_verify=False)
    manifest = engine.images.document(
        _descriptor(engine.images, probe.digest), "the manifest"
    )  # fmt: skip
    engine.remove_image(name)
    digest = manifest["layers"][0]["digest"]
    os.makedirs(engine.images.images, exist_ok=True)
    Path(f"{engine.images.images}/.partial-{digest[7:]}").write_bytes(b"\x1f\x8b\x08rubbish" * 9)
    image = engine.pull(name, tls_verify=False)

    assert probe.digest == image.digest


def _descriptor(store: ImageStore, digest: str):
    from newroot.images.store import descriptor_of

    return next(descriptor_of(e) for e in store.entries() if e.get("digest") == digest)


def test_a_run_fetches_the_image_that_it_misses(registry, tmp_path):
    maker = ImageStore(tmp_path / "maker")
    image = bootstrap_busybox(maker)
    name = f"{registry.host}/run:1"
    skopeo_push(f"oci:{maker.images}:{image.reference}", f"docker://{name}")
    root = tmp_path / "root"
    never = newroot_command(root, "run", "--pull", "never", name, "echo", "hi")
    assert (125, "") == (never.returncode, never.stdout)
    before = len(registry.requests())
    first = newroot_command(root, "run", "--tls-verify=false", name, "echo", "hi")
    assert ("hi\n", 0) == (first.stdout, first.returncode), first.stderr
    between = len(registry.requests())
    second = newroot_command(root, "run", "--tls-verify=false", name, "echo", "hi")
    assert "hi\n" == second.stdout
    assert before < between == len(registry.requests())
    always = newroot_command(
        root, "run", "--pull=always", "-q", "--tls-verify=false", name, "echo", "hi"
    )
    assert ("hi\n", "") == (always.stdout, always.stderr)
    assert ["HEAD /v2/run/manifests/1"] == registry.requests()[between:]


# ── ours to them ─────────────────────────────────────────────────────────────────────────────


@needs("podman")
def test_what_we_push_is_read_by_skopeo_umoci_and_podman(
    registry, layout, expected, engine, tmp_path, containers
):
    source = f"{registry.host}/pushed/source:1"
    skopeo_push(f"oci:{layout}:it", f"docker://{source}")
    image = engine.pull(source, tls_verify=False)
    name = f"{registry.host}/pushed/ours:2"
    said: list[Progress] = []
    pushed = engine.push(source, name, tls_verify=False, on_progress=said.append)

    assert (name, image.digest) == (pushed.reference, pushed.digest)
    assert {"mounted"} == {each.phase for each in said}
    inspected = json.loads(run("skopeo", "inspect", "--tls-verify=false", f"docker://{name}"))
    assert image.digest == inspected["Digest"]
    run("skopeo", "copy", "--src-tls-verify=false", f"docker://{name}", f"oci:{tmp_path}/oci:it")
    run("umoci", "unpack", "--image", f"{tmp_path}/oci:it", tmp_path / "bundle")
    assert expected == tree(tmp_path / "bundle/rootfs")
    run("podman", *containers, "pull", "-q", "--tls-verify=false", name)
    again: list[Progress] = []
    engine.push(source, name, tls_verify=False, on_progress=again.append)
    assert {"exists"} == {each.phase for each in again}


def test_a_large_blob_goes_in_pieces(registry, engine, tmp_path):
    path = tmp_path / "large.tar"
    with open(tmp_path / "large", "wb") as file:
        file.truncate(70 << 20)  # more than two pieces, and no time to compress
    with tarfile.open(path, "w") as tar:
        tar.add(tmp_path / "large", arcname="large")
    image = import_tar(engine.images, path, "large:1")
    name = f"{registry.host}/large:1"
    before = len(registry.requests())
    engine.push("large:1", name, tls_verify=False)

    methods = [request.split()[0] for request in registry.requests()[before:]]
    assert 3 == methods.count("PATCH")
    inspected = json.loads(run("skopeo", "inspect", "--tls-verify=false", f"docker://{name}"))
    assert image.digest == inspected["Digest"]
