"""Every compression is told by its first bytes and read in full, in one stream or several."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.errors import ImageError
from newroot.images.compression import (
    _zstd_module,
    decompressed,
    gzip_compressor,
    sniff,
)

zstd = _zstd_module()
KINDS = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd.compress,
}


def run(data: bytes, kind: str, step: int) -> bytes:
    stream = io.BytesIO(data)
    return b"".join(iter(decompressed(lambda: stream.read(step), kind, "it"), b""))


@pytest.mark.parametrize("kind", KINDS)
@given(parts=st.lists(st.binary(max_size=3000), min_size=1, max_size=3), step=st.integers(1, 4000))
def test_streams_one_after_the_other_are_one(kind, parts, step):
    data = b"".join(KINDS[kind](part) for part in parts)

    assert kind == sniff(data)
    assert b"".join(parts) == run(data, kind, step)


@pytest.mark.parametrize("kind", KINDS)
def test_more_than_one_chunk_of_output_comes_whole(kind):
    data = bytes(5_000_000) + b"end"

    assert data == run(KINDS[kind](data), kind, 1 << 20)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_of_zeros_is_skipped(kind):
    assert b"data" == run(KINDS[kind](b"data") + bytes(1000), kind, 64)


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_an_image_error(kind):
    data = bytearray(KINDS[kind](b"some data" * 1000))
    data[len(data) // 2] ^= 0xFF
    data[-3] ^= 0xFF

    with pytest.raises(ImageError, match="read it: "):
        run(bytes(data), kind, 1000)


def test_a_zstd_skippable_frame_may_come_first():
    data = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd" + zstd.compress(b"data")

    assert "zstd" == sniff(data)
    assert b"data" == run(data, "zstd", 5)


def test_what_is_not_compressed_is_not_taken_for_it():
    assert sniff(b"") is None
    assert sniff(b"BZ") is None
    assert sniff(b"plain") is None


def test_without_isal_zlib_steps_in(monkeypatch):
    monkeypatch.setitem(sys.modules, "isal", None)
    data = gzip.compress(b"one" * 100_000) + gzip.compress(bytes(3_000_000))

    assert b"one" * 100_000 + bytes(3_000_000) == run(data, "gzip", 333)
    with pytest.raises(ImageError, match="ends too early"):
        run(data[:-9], "gzip", 333)
    with pytest.raises(ImageError, match="damaged"):
        run(data[:-5] + b"\0\0\0\0\0", "gzip", 333)


def test_our_gzip_depends_on_its_input_alone():
    made = []
    for _ in range(2):
        compressor = gzip_compressor()
        made.append(compressor.compress(b"x" * 1000) + compressor.flush())

    assert made[0] == made[1]
    assert b"\0\0\0\0" == made[0][4:8]
    assert b"x" * 1000 == gzip.decompress(made[0])


def test_without_a_zstd_module_the_remedy_is_named(monkeypatch):
    from newroot.errors import UnsupportedError

    monkeypatch.setitem(sys.modules, "compression", None)
    monkeypatch.setitem(sys.modules, "backports", None)
    with pytest.raises(UnsupportedError) as caught:
        decompressed(lambda: b"", "zstd", "it")

    assert "pip install backports.zstd" == caught.value.hint
