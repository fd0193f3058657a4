"""Which ids a user's namespace gets, whatever /etc/subuid says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.isolation.own_ids import own_ids, usable
from newroot.linux import idmap
from newroot.linux.idmap import MAX_ID, IdMap, read_subids, rootless

ids = st.integers(0, MAX_ID)
ranges = st.lists(st.tuples(ids, st.integers(1, 2**32)).filter(lambda r: sum(r) - 1 <= MAX_ID))


@given(ids, ranges)
def test_any_ranges_give_a_map_that_the_kernel_takes(own, subids):
    maps = rootless(own, usable(own, subids))

    idmap.validate(maps)
    assert idmap.to_host(maps, 0) == own
    assert idmap.to_container(maps, own) == 0


@given(ids, ranges)
def test_only_ids_that_the_file_gives_are_mapped(own, subids):
    found = usable(own, subids)

    assert set(found) <= set(subids)
    assert all(not first <= own < first + size for first, size in found)


def test_no_more_lines_than_the_kernel_takes():
    many = [(2 * n, 1) for n in range(1, 1000)]

    assert len(rootless(0, usable(0, many))) == idmap.MAX_LINES


@given(st.binary())
def test_any_file_can_be_read(text):
    found = read_subids("/none", name="user", number=1000, text=text)

    assert all(0 <= first and size > 0 and first + size - 1 <= MAX_ID for first, size in found)


@pytest.mark.parametrize(
    "line",
    [
        "user:100000", "user:100000:65536:1", "user:-1:5", "user:1:-5", "user:1e5:5",
        "user:4294967290:100", "user:0:4294967296", "user: :5", "other:100000:65536",
        "user:99999999999999999999:5", "user:٣:5", ":100000:65536", "user\0:100000:65536",
    ],
)  # fmt: skip
def test_a_hostile_line_gives_nothing(line):
    assert read_subids("/none", name="user", number=1000, text=line.encode()) == ()


def files(directory: Path, uids: str, gids: str) -> dict[str, str]:
    for name, text in (("subuid", uids), ("subgid", gids)):
        (directory / name).write_text(text)
    return {name: str(directory / name) for name in ("subuid", "subgid")}


def test_a_range_that_holds_the_user_is_left_out(tmp_path, monkeypatch):
    given = files(tmp_path, "77:70:20\n77:1000:5\n", "77:1000:5\n")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("newuidmap", "newgidmap"):
        (programs / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(programs))

    found = own_ids(77, 77, **given)

    assert found.uids == (
        IdMap(container_id=0, host_id=77, size=1),
        IdMap(container_id=1, host_id=1000, size=5),
    )
    assert not found.is_single


@pytest.mark.parametrize(("uids", "gids"), [("", "77:1000:5"), ("77:1000:5", ""), ("", "")])
def test_without_a_range_in_either_file_there_is_a_single_id(tmp_path, uids, gids):
    found = own_ids(77, 78, **files(tmp_path, uids, gids))

    assert found.uids == (IdMap(container_id=0, host_id=77, size=1),)
    assert found.gids == (IdMap(container_id=0, host_id=78, size=1),)
    assert "gives 77 no range" in found.why_single
    assert "usermod" in found.remedy


def test_this_user_has_some():
    assert own_ids(os.getuid(), os.getgid()).uids[0].host_id == os.getuid()
