"""A flat tar becomes an image of one layer, from a file or a pipe, however it is compressed."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import threading
from pathlib import Path

import pytest

from newroot.errors import ImageError, UsageError
from newroot.images.compression import _zstd_module
from newroot.images.flat import import_tar
from newroot.testing.archives import listing

zstd = _zstd_module()


@pytest.fixture
def flat(archive) -> bytes:
    return archive.of(archive.directory("etc"), archive.file("etc/x", b"data" * 5000))


def blobs(store, image) -> list[dict]:
    return json.loads(Path(store.blob_path(image.digest)).read_bytes())["layers"]


@pytest.mark.parametrize(
    ("compress", "media_type", "kept"),
    [
        (bytes, "application/vnd.oci.image.layer.v1.tar", True),
        (gzip.compress, "application/vnd.oci.image.layer.v1.tar+gzip", True),
        (zstd.compress, "application/vnd.oci.image.layer.v1.tar+zstd", True),
        (bz2.compress, "application/vnd.oci.image.layer.v1.tar+gzip", False),
        (lzma.compress, "application/vnd.oci.image.layer.v1.tar+gzip", False),
    ],
)
def test_every_compression_gives_the_same_layer(store, flat, compress, media_type, kept):
    data = compress(flat)
    image = import_tar(store, io.BytesIO(data), "x")
    (layer,) = blobs(store, image)
    blob = Path(store.blob_path(layer["digest"])).read_bytes()

    assert f"sha256:{hashlib.sha256(flat).hexdigest()}" == image.config["rootfs"]["diff_ids"][0]
    assert (media_type, len(blob)) == (layer["mediaType"], layer["size"])
    assert f"sha256:{hashlib.sha256(blob).hexdigest()}" == layer["digest"]
    assert (blob == data) == kept
    assert flat == (blob if compress is bytes else zstd.decompress(blob) if "zstd" in media_type
                    else gzip.decompress(blob))  # fmt: skip
    assert b"data" * 5000 == Path(image.layers[0], "etc/x").read_bytes()


def test_a_pipe_is_as_good_as_a_file(store, flat):
    read, write = os.pipe()
    with open(read, "rb", buffering=0) as source, open(write, "wb") as sink:
        # A thread, because the pipe holds less than the tar.
        writer = threading.Thread(target=lambda: (sink.write(flat), sink.close()))
        writer.start()
        image = import_tar(store, source, "x")
        writer.join()

    assert Path(image.layers[0], "etc/x").exists()


def test_the_same_tar_and_time_give_the_same_digest(store, flat, tmp_path):
    from newroot.images.store import ImageStore

    (tmp_path / "flat.tar").write_bytes(flat)
    one = import_tar(store, tmp_path / "flat.tar", "x", created="2020-01-01T00:00:00Z")
    other = import_tar(
        ImageStore(tmp_path / "other"), str(tmp_path / "flat.tar"), "y", created=one.created
    )

    assert one.digest == other.digest


def test_settings_go_into_the_config(store, flat):
    image = import_tar(
        store, io.BytesIO(flat), "x", command=["sh", "-l"], entrypoint=["/e"], env={"A": "b"},
        workdir="/w", user="1:2", labels={"k": "v"}, architecture="riscv64",
    )  # fmt: skip

    assert {
        "Cmd": ["sh", "-l"],
        "Entrypoint": ["/e"],
        "Env": ["A=b"],
        "WorkingDir": "/w",
        "User": "1:2",
        "Labels": {"k": "v"},
    } == image.config["config"]
    assert ("riscv64", "linux") == (image.config["architecture"], image.config["os"])


def test_importing_the_same_again_changes_nothing(store, flat):
    import_tar(store, io.BytesIO(flat), "x", created="2020-01-01T00:00:00Z")
    before = listing(Path(store.root))
    import_tar(store, io.BytesIO(flat), "x", created="2020-01-01T00:00:00Z")

    assert before == listing(Path(store.root))


@pytest.mark.parametrize("name", ["X", "a@sha256:" + "0" * 64, ""])
def test_a_bad_name_touches_nothing(store, flat, name):
    with pytest.raises(UsageError):
        import_tar(store, io.BytesIO(flat), name)
    assert not os.path.exists(store.root)


def test_a_file_that_is_not_there_is_named(store, tmp_path):
    with pytest.raises(UsageError, match=r"open .*/nothing.tar: No such file or directory"):
        import_tar(store, tmp_path / "nothing.tar", "x")


def test_a_reader_that_fails_leaves_the_store_as_it_was(store, flat):
    import_tar(store, io.BytesIO(flat), "before")
    before = listing(Path(store.root))

    class Broken(io.BytesIO):
        def read(self, size: int = -1) -> bytes:
            if self.tell() > 5000:
                raise ConnectionError("gone")
            return super().read(1000)

    with pytest.raises(ImageError, match="gone"):
        import_tar(store, Broken(flat), "x")
    assert before == listing(Path(store.root))
    with pytest.raises(ImageError):
        import_tar(store, io.BytesIO(flat[:2000]), "x")
    assert before == listing(Path(store.root))
