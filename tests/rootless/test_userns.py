"""``--userns`` for an ordinary user: other ids, and an image's files with their owners shifted."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Do = Callable[..., "subprocess.CompletedProcess[str]"]
Says = Callable[[str], str]

RANGE = "user:200000:65536"
SHOW = "id -u; id -g; stat -c %u:%g / /bin/busybox /etc/hosts; head -1 /proc/self/uid_map"


@pytest.fixture(scope="session", params=[RANGE], ids=["range"])
def subids(request: pytest.FixtureRequest) -> str:
    """A range of ids: with a single one there are no others to have."""
    return str(request.param)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("host", "0 0 0:0 0:0 0:0 0 1000 1"),
        ("keep-id", "1000 1000 0:0 0:0 0:0 0 1 1000"),
        ("keep-id:uid=5,gid=6", "5 6 0:0 0:0 0:0 0 1 5"),
        ("keep-id:uid=0,gid=0", "0 0 0:0 0:0 0:0 0 0 1"),
        ("nomap", "0 0 0:0 0:0 0:0 0 1 65536"),
        ("auto", "0 0 0:0 0:0 0:0 0 1 4096"),
    ],
)
def test_the_ids_and_the_image_s_owners(says: Says, mode: str, expected: str) -> None:
    script = f"newroot run --rm --userns {mode} busybox sh -c '{SHOW}'"

    assert says(script).split() == expected.split()


def test_a_kept_user_s_files_are_the_user_s_own(says: Says, user_home: Path) -> None:
    says("mkdir -p kept; newroot run --rm --userns keep-id -v $HOME/kept:/k busybox touch /k/made")

    assert os.stat(user_home / "kept/made").st_uid == 1000


def test_the_user_is_nobody_where_it_is_not_mapped(do: Do) -> None:
    done = do(
        "newroot run --rm --userns nomap -v $HOME:/h busybox "
        "sh -c 'stat -c %u /h; touch /h/x || echo no'"
    )

    assert done.stdout.split() == ["65534", "no"]


def test_two_ranges_never_overlap_and_one_can_be_shared(says: Says) -> None:
    show = "head -1 /proc/self/uid_map"
    script = f"""
        newroot run -d --name one --userns auto busybox sleep 100 >/dev/null
        newroot run -d --name two --userns container:one busybox sleep 100 >/dev/null
        newroot exec one {show}
        newroot exec two {show}
        newroot rm -f one >/dev/null
        newroot run --rm --userns auto busybox {show}
        newroot rm -f two >/dev/null
        newroot run --rm --userns auto busybox {show}
    """

    assert says(script).split() == [*"0 1 4096 0 1 4096 0 4097 4096 0 1 4096".split()]


def test_many_at_once_have_different_ones(says: Says) -> None:
    script = """
        newroot run --rm --userns auto busybox true
        for i in 1 2 3 4 5 6 7 8; do
          newroot run -d --name m$i --userns auto busybox sleep 100 >/dev/null &
        done; wait
        for i in 1 2 3 4 5 6 7 8; do
          newroot exec m$i head -1 /proc/self/uid_map
        done | sort -u | wc -l
        newroot rm -f m1 m2 m3 m4 m5 m6 m7 m8 >/dev/null
    """

    assert says(script) == "8\n"


@pytest.mark.parametrize("mode", ["keep-id", "auto", "nomap"])
def test_what_was_written_is_committed_with_the_owners_of_inside(says: Says, mode: str) -> None:
    script = f"""
        newroot run --name writes --userns {mode} -u 0 busybox sh -c '
          touch /new; chown 7:1000 /new; rm -r /usr'
        newroot diff writes | sort
        newroot start writes; newroot wait writes
        newroot commit writes written >/dev/null
        newroot rm writes
        newroot run --rm written sh -c 'stat -c %u:%g /new /etc; ls / | grep -c usr; true'
        newroot rmi written >/dev/null
    """

    assert says(script).split("\n")[-6:] == ["1", "writes", "7:1000", "0:0", "0", ""]


def test_the_copy_is_made_once(says: Says, user_home: Path) -> None:
    says("newroot run --rm --userns nomap busybox true")
    store = user_home / ".local/share/newroot/shifted"
    before = {path.name: path.stat().st_ino for path in store.iterdir()}
    says("newroot run --rm --userns nomap busybox true")

    assert before == {path.name: path.stat().st_ino for path in store.iterdir()}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("--userns keep-id --rootfs /usr", "without root: its files' owners stay as they are"),
        ("--userns keep-id:pid=1 busybox", "invalid option 'pid=1' of keep-id"),
        ("--userns nonsense busybox", "invalid user namespace 'nonsense'"),
        ("--userns container:nobody busybox", "no container nobody"),
        ("--userns auto --pid host busybox", "userns=private and pid=host"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(do: Do, words: str, why: str) -> None:
    done = do(f"newroot run --rm {words} true")

    assert done.returncode == 125
    assert why in done.stderr
