"""Each container's range of ids is its own, as long as somebody holds the range's descriptor."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import pytest

from newroot.errors import UnsupportedError
from newroot.isolation.id_ranges import PIECE, pieces, take_range


def _files(directory: Path, text: str, group_text: str | None = None) -> dict[str, str]:
    found = {}
    for name, content in (("subuid", text), ("subgid", text if group_text is None else group_text)):
        (directory / name).write_text(content)
        found[name] = str(directory / name)
    return found


def test_the_entry_of_containers_is_cut_into_pieces(tmp_path: Path) -> None:
    files = _files(tmp_path, f"a:1:5\ncontainers:200000:{3 * PIECE + 9}\n")

    assert list(pieces(**files)) == [
        (200000 + n * PIECE, 200000 + n * PIECE, PIECE) for n in range(3)
    ]


def test_an_entry_smaller_than_a_piece_is_one(tmp_path: Path) -> None:
    files = _files(tmp_path, "containers:200000:1000\n", "containers:300000:70000\n")

    assert list(pieces(**files)) == [(200000, 300000, 1000)]


def test_without_an_entry_nobody_s_ids_are_taken(tmp_path: Path) -> None:
    start = 2**31
    files = _files(tmp_path, f"a:100000:65536\nb:{start + PIECE + 1}:1\n")

    assert list(islice(pieces(**files), 2)) == [
        (start, start, PIECE),
        (start + 2 * PIECE, start + 2 * PIECE, PIECE),
    ]


def test_missing_files_give_nobody_anything(tmp_path: Path) -> None:
    missing = str(tmp_path / "none")

    assert next(pieces(missing, missing)) == (2**31, 2**31, PIECE)


def test_two_ranges_never_overlap_and_a_free_one_is_taken_again(tmp_path: Path) -> None:
    files = _files(tmp_path, f"containers:200000:{2 * PIECE}\n")
    lock = str(tmp_path / "ids")
    one, two = take_range(lock, **files), take_range(lock, **files)
    with pytest.raises(UnsupportedError, match="no range of ids is left"):
        take_range(lock, **files)
    copy = os.dup(one.fd)  # as the launcher has it
    os.close(one.fd)
    with pytest.raises(UnsupportedError):
        take_range(lock, **files)
    os.close(copy)
    three = take_range(lock, **files)
    os.close(two.fd)
    os.close(three.fd)

    assert (one.uid, two.uid, three.uid) == (200000, 200000 + PIECE, 200000)


def test_a_range_as_an_oci_config_has_it(tmp_path: Path) -> None:
    found = take_range(str(tmp_path / "ids"), **_files(tmp_path, "containers:7:10\n"))
    os.close(found.fd)

    assert found.oci["gidMappings"] == [{"containerID": 0, "hostID": 7, "size": 10}]
    assert found.maps == (((0, 7, 10),), ((0, 7, 10),))
