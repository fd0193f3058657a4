"""Id maps: what the kernel takes, what it refuses, and what /etc/subuid may say."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.errors import SpecError, UsageError
from newroot.linux import idmap
from newroot.linux.idmap import IdMap

ids = st.integers(0, 2**32 + 10)
maps = st.lists(
    st.builds(IdMap, container_id=ids, host_id=ids, size=st.integers(0, 2**32)), max_size=5
).map(tuple)


def one(container_id: int, host_id: int, size: int) -> IdMap:
    return IdMap(container_id=container_id, host_id=host_id, size=size)


@given(maps)
def test_any_map_survives_the_round_trip(table):
    small = tuple(each for each in table if each.size < 10**10)

    assert idmap.parse(idmap.format(small)) == small


@given(maps)
def test_a_valid_map_is_one_to_one(table):
    try:
        idmap.validate(table)
    except UsageError:
        return
    for each in table:
        for inside in (each.container_id, each.container_id + each.size - 1):
            outside = idmap.to_host(table, inside)

            assert outside is not None
            assert outside <= idmap.MAX_ID
            assert idmap.to_container(table, outside) == inside


def test_own_map_is_read():
    found = idmap.parse(Path("/proc/self/uid_map").read_text())

    assert found
    assert idmap.to_host(found, 0) is not None


@pytest.mark.parametrize("text", ["0:1", "0:1:2:3", "a:b:c", "0:1:-2", "0:1:99999999999999"])
def test_what_is_no_map_is_refused(text):
    with pytest.raises(UsageError, match="not an id map"):
        idmap.parse(text)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ((one(0, 0, 0),), "at least 1"),
        ((one(0, 2**32 - 1, 1),), "goes beyond"),
        ((one(0, 4294967290, 10),), "goes beyond"),
        ((one(0, 100, 10), one(5, 200, 1)), "container_id 5 is mapped twice"),
        ((one(0, 100, 10), one(10, 109, 1)), "host_id 109 is mapped twice"),
        (tuple(one(i, i, 1) for i in range(341)), "more than the kernel's 340"),
    ],
)
def test_what_the_kernel_would_refuse_is_refused(table, words):
    with pytest.raises(UsageError, match=words):
        idmap.validate(table)


def test_error_in_a_config_names_its_place():
    config = [{"containerID": 0, "hostID": 1, "size": 2}, {"containerID": 9, "hostID": "x"}]
    with pytest.raises(SpecError) as caught:
        idmap.from_oci(config, pointer="/linux/uidMappings")

    assert caught.value.pointer == "/linux/uidMappings/1/hostID"


@pytest.mark.parametrize("config", [{}, [1], [{"size": True}], "x"])
def test_config_of_the_wrong_shape_is_refused(config):
    with pytest.raises(SpecError):
        idmap.from_oci(config, pointer="/linux/uidMappings")


SUBUID = b"""\
alice:100000:65536
bob:165536:65536
1000:300000:10
alice:999999:x
alice:4294967295:1
alice:1:0
alice
# alice:1:1
alice:500000:5
"""


def test_ranges_of_a_user_are_those_of_its_name_and_number():
    found = idmap.read_subids("/etc/subuid", name="alice", number=1000, text=SUBUID)

    assert found == ((100000, 65536), (300000, 10), (500000, 5))


@given(st.binary())
def test_any_subid_file_is_read(text):
    idmap.read_subids("/etc/subuid", name="alice", number=1000, text=text)


def test_missing_subid_file_is_no_ranges(tmp_path):
    assert idmap.read_subids(str(tmp_path / "subuid"), name="a", number=1) == ()


def test_rootless_map_is_own_id_and_then_the_ranges():
    table = idmap.rootless(1000, [(100000, 65536), (300000, 10)])
    idmap.validate(table)

    assert table == (one(0, 1000, 1), one(1, 100000, 65536), one(65537, 300000, 10))
