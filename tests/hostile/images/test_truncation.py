"""An archive that ends too early would leave half an image that looks whole."""

from __future__ import annotations

import gzip
import io
import lzma
import random

import pytest

from newroot.errors import ImageError
from newroot.images.flat import import_tar


@pytest.fixture
def whole(archive):
    return archive.of(
        archive.directory("d"), archive.file("d/a", b"a" * 2000), archive.file("d/b", b"b" * 100)
    )


def test_a_tar_cut_anywhere_is_refused(scene, archive, whole):
    end = whole.rindex(b"b" * 100) + 512 - len(b"b" * 100) % 512
    for size in [*range(0, end, 300), 512, 1024, 1536, end]:
        before = scene.everything()
        with pytest.raises(ImageError):
            import_tar(scene.store, io.BytesIO(whole[:size]), "evil")

        assert before == scene.everything()


def zstd_compress(data: bytes) -> bytes:
    from newroot.images.compression import _zstd_module

    return _zstd_module().compress(data)


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, zstd_compress])
def test_compressed_data_cut_anywhere_is_refused(scene, whole, compress):
    data = compress(whole)
    for size in range(len(data) - 1, 5, -max(1, len(data) // 40)):
        before = scene.everything()
        with pytest.raises(ImageError):
            import_tar(scene.store, io.BytesIO(data[:size]), "evil")

        assert before == scene.everything()


@pytest.mark.parametrize(
    "data",
    [b"hello", b"#!/bin/sh\n" * 200, random.Random(1).randbytes(5000), b"PK\3\4" + bytes(999)],
)
def test_what_is_no_tar_is_said_to_be_none(scene, data):
    scene.refuses(data, "the archive: it " if len(data) > 512 else "ends too early")


def test_an_empty_file_is_refused(scene):
    scene.refuses(b"", "it ends too early, after 0 bytes")


def test_garbage_after_gzip_is_refused(scene, whole):
    scene.refuses(gzip.compress(whole) + b"garbage after the stream", "damaged gzip data")


def test_a_flipped_bit_in_gzip_is_refused(scene, whole):
    data = bytearray(gzip.compress(whole))
    data[-6] ^= 1

    scene.refuses(bytes(data), "damaged gzip data")
