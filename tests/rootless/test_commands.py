"""Each command for an ordinary user, with a range of ids and with a single one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

Do = Callable[..., "subprocess.CompletedProcess[str]"]
Says = Callable[[str], str]


def test_root_inside_is_the_user_outside(says: Says, subids: str) -> None:
    said = says("newroot run --rm busybox sh -c 'id -u; cat /proc/self/uid_map'").split()

    ranges = ["1", "200000", "65536"] if subids else []
    assert said == ["0", "0", "1000", "1", *ranges]


def test_the_state_is_in_the_user_s_own_directories(says: Says, user_home: Path) -> None:
    says("newroot run --name stays busybox true")

    assert os.path.isdir(user_home / ".local/share/newroot/containers")
    assert os.path.isdir(user_home / "run/newroot")
    assert os.stat(user_home / ".local/share/newroot/images").st_uid == 1000
    says("newroot rm stays")


def test_the_exit_code_is_the_command_s(do: Do) -> None:
    assert do("newroot run --rm busybox sh -c 'exit 7'").returncode == 7
    assert do("newroot run --rm busybox nosuchcommand").returncode == 127


def test_a_container_stays_while_commands_come_and_go(says: Says) -> None:
    script = """
        newroot run -d --name web busybox sh -c '
          echo up; trap "exit 3" TERM; while :; do sleep 0.05; done' >/dev/null
        newroot exec web sh -c 'echo $(id -u) in $(hostname | wc -c)'
        newroot ps | grep -c 'Up .*web'
        readlink /proc/self/ns/user >here; newroot exec web readlink /proc/self/ns/user >there
        cmp -s here there || echo other
        newroot unshare readlink /proc/self/ns/user | cmp - there && echo same
        newroot stop web
        newroot wait web
        newroot logs web
        newroot rm web
        newroot ps -aq
    """

    assert says(script).split("\n") == [
        "0 in 13", "1", "other", "same", "web", "3", "up", "web", "",
    ]  # fmt: skip


def test_two_who_come_at_once_are_in_one_namespace(says: Says) -> None:
    script = """
        for i in 1 2 3 4 5 6; do
          newroot unshare sh -c '
            readlink /proc/self/ns/user >ns.$1
            until [ $(ls ns.* | wc -l) = 6 ]; do sleep 0.02; done' sh $i &
        done
        wait
        sort -u ns.* | wc -l; rm ns.*
    """

    assert says(script) == "1\n"


def test_nothing_is_left_when_the_last_has_ended(says: Says, user_home: Path) -> None:
    says("newroot run --rm busybox true")

    assert os.listdir(user_home / "run/newroot-userns") == []
    assert os.listdir(user_home / "run/newroot") == []


def test_what_another_id_wrote_is_committed_and_removed(says: Says, subids: str) -> None:
    script = """
        newroot run --name worker busybox sh -c '
          mkdir -m 700 /d; touch /d/x; chmod 600 /d/x; chown 5:6 /d /d/x
          rm -r /usr; mkdir /usr; touch /usr/new'
        newroot diff worker | sort
        newroot commit -q worker changed >/dev/null
        newroot rm worker
        newroot run --rm changed sh -c 'stat -c %u:%g:%a /d /d/x; ls /usr'
        newroot rmi changed >/dev/null
        newroot ps -aq
    """
    owner = "5:6" if subids else "0:0"
    said = says(script.replace("commit -q", "commit")).split("\n")

    assert said == [
        "A /d", "A /d/x", "A /usr/new", "C /usr", "D /usr/bin", "D /usr/sbin",
        "worker", f"{owner}:700", f"{owner}:600", "new", "",
    ]  # fmt: skip


def test_a_volume_keeps_what_containers_write(says: Says) -> None:
    script = """
        newroot run --rm -v data:/v busybox sh -c 'echo one >/v/a; chmod 600 /v/a'
        newroot run --rm -v data:/v:ro busybox cat /v/a
        newroot run --rm -v data:/v:ro busybox sh -c 'touch /v/b 2>/dev/null || echo refused'
        newroot volume rm data
    """

    assert says(script).split() == ["one", "refused", "data"]


def test_a_bind_is_the_user_s_own_files(says: Says, user_home: Path) -> None:
    script = "mkdir -p b; newroot run --rm -v $HOME/b:/b busybox touch /b/made; stat -c %u b/made"

    assert says(script) == "1000\n"


def test_a_host_file_of_another_s_is_out_of_reach(do: Do) -> None:
    done = do("newroot run --rm -v /etc:/e busybox sh -c 'echo x >>/e/passwd'")

    assert done.returncode != 0, "AN ORDINARY USER WROTE /etc/passwd"
    assert "Permission denied" in done.stderr or "Read-only" in done.stderr


def test_an_image_goes_out_and_in_again(says: Says) -> None:
    script = """
        newroot save -o saved.tar busybox
        newroot tag busybox other
        newroot load -i saved.tar >/dev/null
        newroot run --name gone busybox true
        newroot export -o root.tar gone
        tar -tf root.tar | grep -c bin/busybox
        newroot rm gone >/dev/null
        newroot rmi other >/dev/null; rm *.tar
    """

    assert says(script).split() == ["1"]


def test_the_devices_work(says: Says) -> None:
    said = says("newroot run --rm busybox sh -c 'echo x >/dev/null; head -c 3 /dev/zero | wc -c'")

    assert said == "3\n"


def test_a_terminal_is_there(says: Says) -> None:
    assert says("newroot run --rm -t busybox tty").strip() == "/dev/pts/0"


def test_doctor_names_the_rung(do: Do, subids: str) -> None:
    said = do("newroot doctor --quick --offline").stdout
    lines = [line for line in said.splitlines() if line.startswith("isolation")]

    if subids:
        assert lines == ["isolation   ok      root of a user namespace with 65537 ids"]
    else:
        assert "single id: /etc/subuid gives user no range of ids" in lines[0]
        assert "usermod --add-subuids" in said
