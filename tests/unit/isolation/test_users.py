"""USER[:GROUP] in files of an image that may hold anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.errors import UsageError
from newroot.isolation import users
from newroot.isolation.users import User, resolve

PASSWD = b"""\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1::/usr/sbin:
alice:x:1000:1000:Alice,,,:/home/alice:/bin/sh
alice:x:2000:2000::/second:
1337:x:7:7::/leet:
nohome:x:9:9
broken:x:zero:0::/:
negative:x:-1:0::/:
huge:x:4294967295:0::/:
\xff\xfe:x:77:77::/\xff:
"""
GROUP = b"""\
root:x:0:
wheel:x:10:root,alice
staff:x:50:alice,
docker:x:998:bob
alice:x:1000:
staff:x:51:alice
bad:x:-5:alice
1337:x:8:
"""


def read(path):
    return {users.PASSWD: PASSWD, users.GROUP: GROUP}.get(path)


def nothing(path):
    return None


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("", User(home="/root", name="root")),
        ("root", User(home="/root", name="root")),
        ("1", User(uid=1, gid=1, home="/usr/sbin", name="daemon")),
        ("alice:0", User(uid=1000, gid=0, home="/home/alice", name="alice")),
        ("alice:wheel", User(uid=1000, gid=10, home="/home/alice", name="alice")),
        ("4242", User(uid=4242)),
        ("4242:4343", User(uid=4242, gid=4343)),
        ("4242:docker", User(uid=4242, gid=998)),
        ("nohome", User(uid=9, gid=9, name="nohome")),
    ],
)
def test_users_are_found_as_docker_finds_them(spec, expected):
    found = resolve(spec, read)

    assert (found.uid, found.gid, found.home, found.name) == (
        expected.uid,
        expected.gid,
        expected.home,
        expected.name,
    )


def test_supplementary_groups_are_those_that_name_the_user():
    assert resolve("alice", read).groups == (10, 50, 51)
    assert resolve("", read).groups == (10,)


def test_asking_for_a_group_leaves_the_supplementary_ones_out():
    assert resolve("alice:docker", read).groups == ()


def test_additional_groups_come_by_name_and_number_each_once():
    found = resolve("alice", read, additional=["docker", "50", "60000", "docker"])

    assert found.groups == (10, 50, 51, 998, 60000)


def test_number_is_an_id_and_never_a_name():
    # CVE-2016-3697: a user called 1337 with another id.
    assert resolve("1337", read).uid == 1337
    assert resolve("1337:1337", read).gid == 1337


def test_first_entry_of_a_name_is_the_one():
    assert resolve("alice", read).uid == 1000


@pytest.mark.parametrize("spec", ["broken", "negative", "huge", "nobody", "alice:nogroup", "0:bad"])
def test_entry_whose_id_is_none_is_no_entry(spec):
    with pytest.raises(UsageError, match=r"^no (user|group) '"):
        resolve(spec, read)


@pytest.mark.parametrize(
    "spec", ["-1", "2147483648", "0:-1", "0:4294967295", "9" * 5000, "+" + "9" * 40]
)
def test_id_out_of_range_is_refused(spec):
    with pytest.raises(UsageError, match="is not an id"):
        resolve(spec, read)


def test_container_without_files_has_numbers_only():
    assert resolve("5:6", nothing) == User(uid=5, gid=6)
    assert resolve("", nothing) == User()
    with pytest.raises(UsageError, match="no user 'root'"):
        resolve("root", nothing)


def test_name_and_home_that_are_no_text_are_kept_as_they_are():
    found = resolve("77", read)

    assert found.name == "\udcff\udcfe"
    assert found.home == "/\udcff"
    assert resolve("\udcff\udcfe", read).uid == 77


def test_home_with_a_nul_is_no_home():
    assert resolve("x", lambda path: b"x:x:1:1::/a\0b:\n").home == "/"


passwd_lines = st.lists(
    st.lists(
        st.sampled_from([b"", b"x", b"0", b"-0", b"00", b"1", b"2147483648", b"\0", b"\xb2"])
        | st.binary(max_size=6),
        max_size=8,
    ).map(b":".join),
    max_size=8,
).map(b"\n".join)
specs = st.text(max_size=8) | st.sampled_from(["", "x", "0", "x:x", ":x", "\udcff", "1:0"])


@given(passwd_lines | st.binary(), passwd_lines | st.binary(), specs)
def test_any_files_give_an_id_in_range_or_a_usage_error(passwd, group, spec):
    files = {users.PASSWD: passwd, users.GROUP: group}
    try:
        found = resolve(spec, files.get)
    except UsageError:
        return
    for number in (found.uid, found.gid, *found.groups):
        assert 0 <= number <= users.MAX_ID
    assert "\0" not in found.home
    assert found.home


@given(passwd_lines)
def test_a_name_never_becomes_root_unless_its_line_says_0(passwd):
    try:
        found = resolve("x", {users.PASSWD: passwd}.get)
    except UsageError:
        return
    if found.uid == 0:
        assert any(
            line.strip().split(b":")[2].strip(b"+-") in (b"0", b"00")
            for line in passwd.split(b"\n")
            if line.strip().startswith(b"x:")
        )


def test_a_megabyte_of_users_is_read_in_no_time():
    text = b"".join(b"user%d:x:%d:%d::/:\n" % (i, i, i) for i in range(1, 30000))

    assert resolve("user29999", {users.PASSWD: text}.get).uid == 29999
