"""docker-archive, OCI archive and OCI layout come in whole; a damaged one does not come at all."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from newroot.errors import (
    BlobNotFound,
    DigestMismatch,
    ImageError,
    SizeMismatch,
    UsageError,
)
from newroot.images.archive import load_archive
from newroot.images.flat import import_tar
from newroot.images.platform import host_platform
from newroot.images.store import ImageStore
from newroot.testing.archives import listing

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def dump(document: object) -> bytes:
    return json.dumps(document).encode()


class Made:
    """An image in pieces, to be put together rightly or wrongly."""

    def __init__(self, archive) -> None:
        self.layers = [
            archive.of(archive.directory("d"), archive.file("d/low", b"low")),
            archive.of(archive.file("d/.wh.low", b""), archive.file("d/high", b"high")),
        ]
        self.config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["x"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(each) for each in self.layers]},
        }
        self.blobs: dict[str, bytes] = {}
        self.tags = ["made:1"]
        self.compress = lambda data: gzip.compress(data, mtime=0)  # no time in a digest

    def put(self, data: bytes, media_type: str, **more: object) -> dict:
        self.blobs[digest(data)[7:]] = data
        return {"mediaType": media_type, "digest": digest(data), "size": len(data), **more}

    def manifest(self, **more: object) -> dict:
        layers = [self.put(self.compress(each), f"{LAYER}+gzip") for each in self.layers]
        return self.put(
            dump(
                {
                    "schemaVersion": 2,
                    "config": self.put(dump(self.config), CONFIG),
                    "layers": layers,
                }
            ),
            MANIFEST,
            **more,
        )

    def named(self, name: str = "made:1") -> dict:
        return self.manifest(annotations={"org.opencontainers.image.ref.name": name})

    def files(self, *manifests: dict) -> dict[str, bytes]:
        found = {f"blobs/sha256/{name}": data for name, data in self.blobs.items()}
        found["oci-layout"] = dump({"imageLayoutVersion": "1.0.0"})
        found["index.json"] = dump({"schemaVersion": 2, "manifests": list(manifests)})
        return found

    def docker(self) -> dict[str, bytes]:
        found = {f"{i}/layer.tar": data for i, data in enumerate(self.layers)}
        found["config.json"] = dump(self.config)
        item = {"Config": "config.json", "RepoTags": self.tags, "Layers": list(found)[:2]}
        found["manifest.json"] = dump([item])
        return found


@pytest.fixture
def made(archive) -> Made:
    return Made(archive)


def lay(directory: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return directory


def tar(archive, files: dict[str, bytes]) -> io.BytesIO:
    return io.BytesIO(archive.of(*[archive.file(name, data) for name, data in files.items()]))


def check(image, compressed: bool = True) -> None:
    high, low = map(Path, image.layers)
    assert b"high" == (high / "d/high").read_bytes()
    assert (high / "d/low").is_char_device()
    assert b"low" == (low / "d/low").read_bytes()
    assert ["x"] == image.config["config"]["Cmd"]


# ── what is right ────────────────────────────────────────────────────────────────────────────


def test_a_docker_archive(store, archive, made):
    (image,) = load_archive(store, tar(archive, made.docker()))

    check(image)
    assert "docker.io/library/made:1" == image.reference


def test_a_docker_archive_with_layers_as_links(store, archive, made):
    # The same layer twice: Docker before 25 wrote the second as a link to the first.
    made.layers.append(made.layers[0])
    made.config["rootfs"]["diff_ids"].append(digest(made.layers[0]))
    files = made.docker()
    item = json.loads(files["manifest.json"])
    item[0]["Layers"] = ["0/layer.tar", "1/layer.tar", "2/layer.tar"]
    files["manifest.json"] = dump(item)
    del files["2/layer.tar"]
    members = [archive.file(name, data) for name, data in files.items()]
    data = archive.of(*members, archive.symlink("2/layer.tar", "../0/layer.tar"))
    (image,) = load_archive(store, io.BytesIO(data))

    assert 2 == len(image.layers)


def test_a_compressed_docker_archive_from_a_file(store, archive, made, tmp_path):
    path = tmp_path / "image.tar.gz"
    path.write_bytes(gzip.compress(tar(archive, made.docker()).getvalue()))

    check(load_archive(store, path)[0])


def test_an_image_without_a_name_is_found_by_its_digest(store, archive, made):
    made.tags = None
    (image,) = load_archive(store, tar(archive, made.docker()))

    assert "" == image.reference
    check(store.get(image.digest))


@pytest.mark.parametrize("form", ["directory", "tar"])
def test_an_oci_layout(store, archive, made, tmp_path, form):
    named = made.named()
    files = made.files(named)
    source = lay(tmp_path / "layout", files) if form == "directory" else tar(archive, files)
    (image,) = load_archive(store, source)

    check(image)
    assert named["digest"] == image.digest
    assert "docker.io/library/made:1" == image.reference


def test_loading_twice_changes_nothing(store, archive, made):
    files = made.files(made.named())
    load_archive(store, tar(archive, files))
    before = listing(Path(store.root))
    load_archive(store, tar(archive, files))

    assert before == listing(Path(store.root))


def test_the_manifest_of_this_host_is_taken_from_an_index(store, archive, made):
    ours = made.manifest(platform={"os": "linux", "architecture": host_platform().architecture})
    other = made.put(b"{}", MANIFEST, platform={"os": "linux", "architecture": "vax"})
    index = made.put(
        dump({"schemaVersion": 2, "manifests": [other, ours]}),
        INDEX,
        annotations={"org.opencontainers.image.ref.name": "multi"},
    )
    (image,) = load_archive(store, tar(archive, made.files(index)))

    assert ours["digest"] == image.digest
    assert "docker.io/library/multi:latest" == image.reference


def test_containerd_s_whole_name_is_preferred_to_the_tag(store, archive, made):
    entry = made.manifest(
        annotations={
            "org.opencontainers.image.ref.name": "1",
            "io.containerd.image.name": "quay.io/a/b:1",
        }
    )

    assert "quay.io/a/b:1" == load_archive(store, tar(archive, made.files(entry)))[0].reference


def test_a_name_of_ours_replaces_the_archive_s(store, archive, made):
    (image,) = load_archive(store, tar(archive, made.docker()), name="mine:2")

    assert ["docker.io/library/mine:2"] == [each.reference for each in store.list()]
    assert image == store.get("mine:2")


def test_shared_layers_are_unpacked_once(store, archive, made):
    load_archive(store, tar(archive, made.docker()))
    made.config["config"] = {"Cmd": ["other"]}
    made.tags = ["other"]
    times = {path: os.stat(path).st_ctime_ns for path in store.get("made:1").layers}
    load_archive(store, tar(archive, made.files(made.named("third"))))
    (image,) = load_archive(store, tar(archive, made.docker()))

    assert times == {path: os.stat(path).st_ctime_ns for path in image.layers}


LOADING = """
import sys
from newroot.images.archive import load_archive
from newroot.images.store import ImageStore
for image in load_archive(ImageStore(sys.argv[1]), sys.argv[2]):
    assert len(image.layers) == 2
"""


def test_processes_that_load_the_same_unpack_each_layer_once(store, archive, made, tmp_path):
    made.layers[0] = archive.of(*[archive.file(f"d/{i}", b"x" * 999) for i in range(1000)])
    made.config["rootfs"]["diff_ids"][0] = digest(made.layers[0])
    path = tmp_path / "image.tar"
    path.write_bytes(tar(archive, made.docker()).getvalue())
    command = [sys.executable, "-c", LOADING, store.root, str(path)]
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [subprocess.Popen(command, env=environment) for _ in range(4)]

    assert [0] * 4 == [process.wait() for process in processes]
    assert 2 == len(os.listdir(store.layers))
    assert {"blobs", "index.json", "oci-layout"} == set(os.listdir(store.images))
    assert ["docker.io/library/made:1"] == [image.reference for image in store.list()]


# ── what is wrong ────────────────────────────────────────────────────────────────────────────


def spoil_json(name):
    def spoil(made: Made) -> dict[str, bytes]:
        files = made.files(made.named()) if name == "index.json" else made.docker()
        files[name] = b'{"a":\n oops}'
        return files

    return spoil


def blob_json(which: str):
    def spoil(made: Made) -> dict[str, bytes]:
        if which == "config":
            made.config = "\0"  # type: ignore[assignment]
            return made.files(made.named())
        return made.files(made.put(b"{not json", MANIFEST))

    return spoil


def drop(which: int):
    def spoil(made: Made) -> dict[str, bytes]:
        files = made.files(made.named())
        del files[list(files)[which]]
        return files

    return spoil


def change_layer(made: Made) -> dict[str, bytes]:
    entry = made.named()
    name = next(iter(made.blobs))
    made.blobs[name] = made.blobs[name][:-1] + b"\xff"
    return made.files(entry)


def lengthen_layer(made: Made) -> dict[str, bytes]:
    entry = made.named()
    name = next(iter(made.blobs))
    made.blobs[name] += bytes(10)
    return made.files(entry)


def swap_diff_ids(made: Made) -> dict[str, bytes]:
    made.config["rootfs"]["diff_ids"].reverse()
    return made.files(made.named())


def without_config(made: Made) -> dict[str, bytes]:
    return made.files(made.put(dump({"schemaVersion": 2, "layers": []}), MANIFEST))


def fewer_diff_ids(made: Made) -> dict[str, bytes]:
    made.config["rootfs"]["diff_ids"].pop()
    return made.files(made.named())


def fewer_layers(made: Made) -> dict[str, bytes]:
    files = made.docker()
    item = json.loads(files["manifest.json"])
    item[0]["Layers"].pop()
    files["manifest.json"] = dump(item)
    return files


def wrong_docker_layer(made: Made) -> dict[str, bytes]:
    files = made.docker()
    files["1/layer.tar"] = files["0/layer.tar"]
    return files


def path_as_digest(made: Made) -> dict[str, bytes]:
    entry = made.named()
    return made.files({**entry, "digest": "sha256:../../../../etc/passwd"})


def path_as_diff_id(made: Made) -> dict[str, bytes]:
    made.config["rootfs"]["diff_ids"][0] = "sha256:../../../evil"
    return made.files(made.named())


def truncated_layer(made: Made) -> dict[str, bytes]:
    made.compress = lambda data: gzip.compress(data)[:-20]
    return made.files(made.named())


def foreign_layer(made: Made) -> dict[str, bytes]:
    layer = made.put(made.layers[0], "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
    made.config["rootfs"]["diff_ids"].pop()
    config = made.put(dump(made.config), CONFIG)
    document = {"schemaVersion": 2, "config": config, "layers": [layer]}
    return made.files(made.put(dump(document), MANIFEST))


def an_artifact(made: Made) -> dict[str, bytes]:
    config = made.put(b"{}", "application/vnd.oci.empty.v1+json")
    document = {"schemaVersion": 2, "config": config, "layers": []}
    return made.files(made.put(dump(document), MANIFEST))


def nothing(made: Made) -> dict[str, bytes]:
    return {"readme": b"hello"}


@pytest.mark.parametrize(
    ("spoil", "kind", "words"),
    [
        (spoil_json("index.json"), ImageError, "read index.json: line 2, column 2"),
        (spoil_json("manifest.json"), ImageError, "read manifest.json: line 2, column 2"),
        (spoil_json("config.json"), ImageError, "read config.json: line 2, column 2"),
        (blob_json("manifest"), ImageError, "line 1, column 2"),
        (blob_json("config"), ImageError, "is missing or not an object"),
        (drop(0), BlobNotFound, "is not in it"),
        (drop(2), BlobNotFound, "is not in it"),
        (drop(3), BlobNotFound, "is not in it"),
        (change_layer, ImageError, "damaged gzip data"),
        (lengthen_layer, SizeMismatch, "bytes were promised"),
        (swap_diff_ids, DigestMismatch, "its diff ID is"),
        (without_config, ImageError, "/config: is missing: this is no image manifest"),
        (fewer_diff_ids, ImageError, "manifest has 2 layers, its config 1"),
        (fewer_layers, ImageError, "manifest has 1 layers, its config 2"),
        (wrong_docker_layer, DigestMismatch, "its diff ID is"),
        (path_as_digest, ImageError, "/manifests/0/digest: 'sha256:../../../../etc/passwd' is not"),
        (path_as_diff_id, ImageError, "/rootfs/diff_ids/0: 'sha256:../../../evil' is not"),
        (truncated_layer, ImageError, "the gzip data ends too early"),
        (foreign_layer, ImageError, "does not take: application/vnd.docker.image.rootfs.foreign"),
        (an_artifact, ImageError, "is no image but an artifact"),
        (nothing, ImageError, "neither a manifest.json (docker-archive) nor an index.json"),
    ],
)
@pytest.mark.parametrize("form", ["directory", "tar"])
def test_a_damaged_archive_is_one_line_and_no_change(
    store, archive, made, tmp_path, spoil, kind, words, form
):
    import_tar(store, io.BytesIO(archive.of(archive.file("x"))), "before")
    files = spoil(made)
    if form == "directory" and "manifest.json" in files:
        return  # a docker-archive is a tar
    source = lay(tmp_path / "layout", files) if form == "directory" else tar(archive, files)
    before = listing(Path(store.root))
    with pytest.raises(kind) as caught:
        load_archive(store, source)

    assert before == listing(Path(store.root))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_blob_with_another_content_is_refused(store, archive, made):
    made.compress = bytes
    entry = made.named()
    name = next(iter(made.blobs))
    # The content alone: a header has a checksum of its own.
    head, _, tail = made.blobs[name].rpartition(b"low")
    made.blobs[name] = head + b"LOW" + tail

    with pytest.raises(DigestMismatch):
        load_archive(store, tar(archive, made.files(entry)))


def test_an_archive_cut_anywhere_is_refused(store, archive, made):
    whole = tar(archive, made.docker()).getvalue().rstrip(b"\0")
    import_tar(store, io.BytesIO(archive.of(archive.file("x"))), "before")
    before = listing(Path(store.root))
    for size in range(0, len(whole), 700):
        with pytest.raises(ImageError):
            load_archive(store, io.BytesIO(whole[:size]))
        assert before == listing(Path(store.root))


def test_a_link_in_a_docker_archive_leads_nowhere_outside(store, archive, made):
    files = made.docker()
    del files["config.json"]
    members = [archive.file(name, data) for name, data in files.items()]
    data = archive.of(*members, archive.symlink("config.json", "/etc/passwd"))

    with pytest.raises(BlobNotFound, match=r"config\.json"):
        load_archive(store, io.BytesIO(data))


def test_a_fifo_in_a_layout_does_not_hold_us_up(store, made, tmp_path):
    layout = lay(tmp_path / "layout", made.files(made.named()))
    (layout / "index.json").unlink()
    os.mkfifo(layout / "index.json")

    with pytest.raises(ImageError, match="not a regular file"):
        load_archive(store, layout)


def test_one_name_for_two_images_is_refused(store, archive, made):
    first = made.named("one")
    made.config["config"] = {}
    files = made.files(first, made.named("two"))

    with pytest.raises(UsageError, match="holds 2 images"):
        load_archive(store, tar(archive, files), name="x")
    assert () == store.list()
    assert 2 == len(load_archive(store, tar(archive, files)))


def test_a_store_of_its_own_is_an_archive_to_another(store, archive, tmp_path):
    image = import_tar(store, io.BytesIO(archive.of(archive.file("x"))), "x")
    (other,) = load_archive(ImageStore(tmp_path / "other"), store.images)

    assert (image.digest, image.reference) == (other.digest, other.reference)
