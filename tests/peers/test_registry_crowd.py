"""Eight processes that pull images with common layers, prune and run at once."""

from __future__ import annotations

import collections
import hashlib
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pictures.trees import run
from registries.server import Server, serve

import newroot
from newroot.images.bootstrap import bootstrap_busybox
from newroot.images.flat import import_tar
from newroot.images.store import ImageStore
from newroot.testing.needs import needs

pytestmark = [needs("root", "skopeo", "docker-registry"), pytest.mark.timeout(300)]
SOURCE = str(Path(newroot.__file__).parent.parent)
EIGHT = 8
#: Layers of each image, from the bottom; no two images have them in one order.
IMAGES = {"one": (0, 1, 2, 3), "two": (0, 2, 1, 4), "three": (0, 3, 1, 2), "four": (0, 4, 2, 1)}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A registry with four images of five layers, a busybox below."""
    directory = tmp_path_factory.mktemp("crowd")
    with serve(directory / "registry") as server:
        make_images(directory, server)
        yield server


def make_images(directory: Path, server: Server) -> None:
    store = ImageStore(directory / "maker")
    blobs = Path(store.images) / "blobs/sha256"

    def read(digest: str):
        return json.loads((blobs / digest[7:]).read_text())

    def put(document: object) -> dict[str, object]:
        data = json.dumps(document).encode()
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    base = read(bootstrap_busybox(store, "busybox").digest)
    parts = [(base["layers"][0], read(base["config"]["digest"])["rootfs"]["diff_ids"][0])]
    for number in range(1, 5):
        # No directory is named: what is implied has its metadata from the layers below.
        path = directory / f"{number}.tar"
        (directory / "file").write_bytes(os.urandom(3 << 20))
        with tarfile.open(path, "w") as tar:
            tar.add(directory / "file", arcname=f"srv/{number}")
        made = read(import_tar(store, path, f"layer:{number}").digest)
        diff_ids = read(made["config"]["digest"])["rootfs"]["diff_ids"]
        parts.append((made["layers"][0], diff_ids[0]))
    config = read(base["config"]["digest"])
    config.pop("history", None)
    entries = []
    for name, numbers in IMAGES.items():
        config["rootfs"]["diff_ids"] = [parts[number][1] for number in numbers]
        manifest = {
            **base,
            "layers": [parts[number][0] for number in numbers],
            "config": {**base["config"], **put(config)},
        }
        entries.append(
            {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                **put(manifest),
                "annotations": {"org.opencontainers.image.ref.name": name},
            }
        )
    index = json.loads((Path(store.images) / "index.json").read_text())
    (Path(store.images) / "index.json").write_text(json.dumps({**index, "manifests": entries}))
    for name in IMAGES:
        run(
            "skopeo", "copy", "-q", "--dest-tls-verify=false", "--preserve-digests",
            f"oci:{store.images}:{name}", f"docker://{server.host}/{name}:1",
        )  # fmt: skip


def start(root: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "newroot.cli.main", "--root", str(root), *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": SOURCE},
    )  # fmt: skip


def finish(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    found = []
    for process in processes:
        out, err = process.communicate(timeout=200)
        found.append((process.returncode, out, err))
    return found


def test_each_layer_is_fetched_once_by_eight_at_once(registry, tmp_path):
    before = len(registry.requests())
    names = [f"{registry.host}/{name}:1" for name in IMAGES] * 2
    done = finish([start(tmp_path, "pull", "-q", "--tls-verify=false", name) for name in names])

    assert [0] * EIGHT == [code for code, _, _ in done], done
    blobs = collections.Counter(
        request for request in registry.requests()[before:] if "/blobs/" in request
    )
    layers: collections.Counter[str] = collections.Counter()
    for request, count in blobs.items():
        digest = request.rpartition("/")[2]
        if Path(tmp_path, "images/blobs/sha256", digest[7:]).stat().st_size > 1 << 19:
            layers[digest] += count
    assert {1} == set(layers.values())
    assert 5 == len(layers)
    check(tmp_path)
    assert 5 == len([n for n in os.listdir(tmp_path / "layers") if not n.startswith(".")])


def check(root: Path) -> None:
    """Every image is whole, every blob is what it is called, nothing is left over."""
    store = ImageStore(root)
    for image in store.list():
        assert image.layers, image.reference
        assert image == store.get(image.reference or image.digest)
    for path in Path(store.images, "blobs/sha256").iterdir():
        assert path.name == hashlib.sha256(path.read_bytes()).hexdigest()
    left = [n for d in ("images", "layers") for n in os.listdir(root / d) if n.startswith(".")]
    assert [] == left


@pytest.mark.slow
def test_pulling_pruning_and_running_at_once_corrupts_nothing(registry, tmp_path):
    names = [f"{registry.host}/{name}:1" for name in IMAGES]
    for turn in range(3):
        processes = [
            *(start(tmp_path, "pull", "-q", "--tls-verify=false", name) for name in names),
            *(start(tmp_path, "image", "prune", "--all", "--force") for _ in range(2)),
            *(
                start(tmp_path, "run", "-q", "--rm", "--tls-verify=false", name,
                      "ls", "/srv")
                for name in names[turn % 2 : turn % 2 + 2]
            ),
        ]  # fmt: skip
        for code, out, err in finish(processes):
            # Pruned between the pull and the start is a clear error, and nothing else may fail.
            assert code == 0 or "is not unpacked" in err or "there is none here" in err, (out, err)
            if code == 0 and "\n" in out and out[0].isdigit():
                assert out.split() in [sorted(str(n) for n in IMAGES[k][1:]) for k in IMAGES], out
        check(tmp_path)
