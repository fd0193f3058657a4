"""What is saved comes back the same, and shared things are written once."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from newroot.engine import Engine
from newroot.errors import ImageError, NotFound
from newroot.images.archive import load_archive
from newroot.images.flat import import_tar
from newroot.images.store import ImageStore

CREATED = "2020-01-01T00:00:00Z"


@pytest.fixture
def engine(tmp_path: Path, archive) -> Engine:
    engine = Engine(tmp_path / "root", run_root=str(tmp_path / "run"))
    data = archive.of(archive.file("x", b"shared" * 1000))
    import_tar(engine.images, io.BytesIO(data), "one:1", created=CREATED, command=["a"])
    import_tar(engine.images, io.BytesIO(data), "two", created=CREATED, command=["b"])
    engine.images.tag("one:1", "quay.io/x/uno")
    return engine


@pytest.mark.parametrize("format", ["docker-archive", "oci-archive"])
def test_images_come_back_with_names_and_digests(engine: Engine, tmp_path: Path, format: str):
    names = ["one:1", "two", "quay.io/x/uno"]
    engine.save(names, tmp_path / "a.tar", format=format)
    other = ImageStore(tmp_path / "other")
    load_archive(other, tmp_path / "a.tar")

    assert {i.reference for i in engine.images.list()} == {i.reference for i in other.list()}
    if format == "oci-archive":
        assert [engine.images.get(n).digest for n in names] == [other.get(n).digest for n in names]
    for name in names:
        assert engine.images.get(name).config == other.get(name).config


def test_a_layer_of_two_images_is_in_the_archive_once(engine: Engine, tmp_path: Path):
    engine.save(["one:1", "two"], tmp_path / "a.tar")
    with tarfile.open(tmp_path / "a.tar") as tar:
        names = tar.getnames()

    assert len(names) == len(set(names))
    assert {"manifest.json", "index.json", "oci-layout"} <= set(names)
    assert 2 + 1 + 2 + 2 + 3 == len(names)  # directories, layer, configs, manifests, documents


def test_the_same_images_give_the_same_bytes_in_a_file_and_in_a_pipe(engine: Engine, tmp_path):
    for name in ("a", "b"):
        engine.save(["two", "one:1"], tmp_path / name)
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        with open(writer, "wb") as file:
            engine.save(["two", "one:1"], file)
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        piped = file.read()
    os.wait()

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == piped


def test_an_image_that_is_named_by_its_id_goes_without_a_name(engine: Engine, tmp_path: Path):
    engine.save([engine.images.get("two").digest[7:19]], tmp_path / "a.tar")
    (image,) = load_archive(ImageStore(tmp_path / "other"), tmp_path / "a.tar")

    assert "" == image.reference


@pytest.mark.parametrize("damage", ["truncated", "gone"])
def test_a_damaged_image_leaves_the_old_file(engine: Engine, tmp_path: Path, damage: str):
    (tmp_path / "a.tar").write_text("old")
    blob = engine.images.blob_path(engine.images.manifest("two").layers[0].digest)
    if damage == "gone":
        os.unlink(blob)
    else:
        os.truncate(blob, 10)

    with pytest.raises(ImageError):
        engine.save(["two"], tmp_path / "a.tar")
    with pytest.raises(NotFound):
        engine.save(["three"], tmp_path / "a.tar")
    assert "old" == (tmp_path / "a.tar").read_text()
    assert ["a.tar"] == [n for n in os.listdir(tmp_path) if "a.tar" in n]
