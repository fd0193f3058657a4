"""The reader reads what tarfile and GNU tar write."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.errors import ImageError
from newroot.images.tar import DIRECTORY, FILE, HARD_LINK, SYMLINK, Entry, TarReader


def read(data: bytes, step: int = 1 << 20, **options) -> list[tuple[Entry, bytes]]:
    stream = io.BytesIO(data)
    reader = TarReader(lambda: stream.read(step), what="it", **options)
    return [(entry, reader.take_data(entry.data_size)) for entry in reader]


texts = st.text(
    st.characters(blacklist_characters="\0/", blacklist_categories=["Cs"]), min_size=1, max_size=150
).filter(lambda text: text not in (".", "..") and text == text.strip())


@given(
    name=texts,
    link=texts,
    data=st.binary(max_size=2000),
    uid=st.integers(0, 2**32 - 2),
    mtime=st.integers(0, 2**40),
    mode=st.integers(0, 0o7777),
    form=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    step=st.sampled_from([1, 7, 512, 1000, 1 << 20]),
)
def test_what_tarfile_writes_is_read(name, link, data, uid, mtime, mode, form, step):
    info = tarfile.TarInfo(name)
    info.size, info.uid, info.gid, info.mtime, info.mode = len(data), uid, uid, mtime, mode
    second = tarfile.TarInfo(f"{name}/link")
    second.type, second.linkname = tarfile.SYMTYPE, link
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as tar:
        tar.addfile(info, io.BytesIO(data))
        tar.addfile(second)
    (first, content), (last, _) = read(made.getvalue(), step)

    assert (name.encode(), data, uid, uid, mtime * 10**9, mode, FILE) == (
        first.name,
        content,
        first.uid,
        first.gid,
        first.mtime_ns,
        first.mode,
        first.kind,
    )
    assert (f"{name}/link".encode(), link.encode(), SYMLINK) == (last.name, last.link, last.kind)


@pytest.mark.parametrize("form", ["gnu", "pax", "ustar", "v7", "oldgnu"])
def test_what_gnu_tar_writes_is_read(tmp_path, form):
    root = tmp_path / "root"
    root.mkdir()
    long = "n" * 90 if form in ("ustar", "v7") else "n" * 200
    os.makedirs(root / "d")
    (root / "d" / "file").write_bytes(b"content")
    (root / "d" / long).write_bytes(b"long")
    os.link(root / "d" / "file", root / "d" / "hard")
    os.symlink("file", root / "d" / "soft")
    done = subprocess.run(
        ["tar", f"--format={form}", "-C", root, "--sort=name", "-c", "d"],
        stdout=subprocess.PIPE,
        check=True,
    )
    found = {
        entry.name.decode().rstrip("/"): (entry.kind, data) for entry, data in read(done.stdout)
    }

    assert found["d"][0] == DIRECTORY
    assert found["d/file"] == (FILE, b"content")
    assert found["d/hard"][0] == HARD_LINK
    assert found["d/soft"][0] == SYMLINK
    assert found[f"d/{long}"] == (FILE, b"long")


def test_nanoseconds_are_kept():
    info = tarfile.TarInfo("x")
    info.pax_headers = {"mtime": "1700000000.123456789"}

    assert 1700000000123456789 == read(info.tobuf(tarfile.PAX_FORMAT))[0][0].mtime_ns


def test_a_time_before_1970_is_kept():
    info = tarfile.TarInfo("x")
    info.pax_headers = {"mtime": "-1.5"}

    assert -1500000000 == read(info.tobuf(tarfile.PAX_FORMAT))[0][0].mtime_ns


def test_a_name_that_is_no_text_is_bytes():
    info = tarfile.TarInfo("caf\udce9")
    made = info.tobuf(tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape")

    assert b"caf\xe9" == read(made)[0][0].name


def test_a_global_header_changes_nothing():
    header = tarfile.TarInfo.create_pax_global_header({"path": "other", "comment": "0" * 40})
    made = header + tarfile.TarInfo("x").tobuf()

    assert [b"x"] == [entry.name for entry, _ in read(made)]


def test_a_link_s_size_stands_for_no_data():
    info = tarfile.TarInfo("l")
    info.type, info.linkname, info.size = tarfile.SYMTYPE, "t", 4096
    made = info.tobuf() + tarfile.TarInfo("x").tobuf()

    assert [b"l", b"x"] == [entry.name for entry, _ in read(made)]


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_long_name_cut_behind_a_slash_is_no_directory(form):
    info = tarfile.TarInfo("d" * 99 + "/" + "f" * 30)  # the header has room for 100 bytes
    info.size = 5
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as tar:
        tar.addfile(info, io.BytesIO(b"hello"))
    ((entry, content),) = read(made.getvalue())

    assert (info.name.encode(), FILE, b"hello") == (entry.name, entry.kind, content)


def test_strict_wants_the_end_marker():
    made = tarfile.TarInfo("x").tobuf()

    assert 1 == len(read(made))
    with pytest.raises(ImageError, match="it ends too early"):
        read(made, strict=True)
    assert 1 == len(read(made + bytes(512), strict=True))


def test_seeking_past_data_finds_the_same_members(tmp_path):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for size in (0, 1, 511, 512, 513, 100_000, 3):
            info = tarfile.TarInfo(f"f{size}")
            info.size = size
            tar.addfile(info, io.BytesIO(bytes([7]) * size))
    stream = io.BytesIO(made.getvalue())
    reader = TarReader(
        lambda: stream.read(700), what="it", strict=True, seek=lambda n: stream.seek(n, 1)
    )
    places = [(entry.name, reader.offset, entry.size) for entry in reader]

    for name, offset, size in places:
        assert bytes([7]) * size == made.getvalue()[offset : offset + size]
        assert name == b"f%d" % size


@pytest.mark.parametrize(
    "how",
    [
        ["--format=gnu"],
        ["--format=pax", "--sparse-version=0.0"],
        ["--format=pax", "--sparse-version=0.1"],
        ["--format=pax", "--sparse-version=1.0"],
    ],
)
def test_sparse_files_of_every_make_are_read(tmp_path: Path, how: list[str]):
    with open(tmp_path / "sparse", "wb") as file:
        for i in range(0, 200, 2):  # more pieces than one header of either kind holds
            file.seek(i * 65536)
            file.write(b"%4d" % i)
        file.truncate(250 * 65536)
    done = subprocess.run(
        ["tar", *how, "-S", "-C", tmp_path, "-c", "sparse"], stdout=subprocess.PIPE, check=True
    )
    ((entry, _),) = read(done.stdout)

    assert (b"sparse", 250 * 65536) == (entry.name, entry.size)
    assert entry.pieces is not None
    assert len(entry.pieces) >= 100
