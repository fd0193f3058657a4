"""NOTIFY_SOCKET: what a container says to systemd's socket is said by its runtime: sd_notify(3)."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from oci_bundles import Oci

from newroot.testing.needs import needs

pytestmark = [needs("root", "busybox", "gcc", "runc"), pytest.mark.timeout(60)]

#: Says what it is given to $NOTIFY_SOCKET, waits for a line on the fifo, and ends.
SAYER = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main (int count, char **words)
{
  struct sockaddr_un to = { .sun_family = AF_UNIX };
  const char *path = getenv ("NOTIFY_SOCKET");
  if (path == NULL)
    return 3;
  strcpy (to.sun_path, path);
  int fd = socket (AF_UNIX, SOCK_DGRAM, 0);
  for (int i = 1; i < count; i++)
    if (sendto (fd, words[i], strlen (words[i]), 0, (struct sockaddr *)&to, sizeof to) < 0)
      return perror (path), 4;
  return getenv ("STAY") != NULL ? pause () : 0;
}
"""


@pytest.fixture(scope="module")
def sayer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sayer")
    (directory / "say.c").write_text(SAYER)
    program = directory / "say"
    subprocess.run(["gcc", "-static", "-o", program, directory / "say.c"], check=True)
    return program


@pytest.fixture
def oci(tmp_path: Path, sayer: Path) -> Iterator[Oci]:
    made = Oci(tmp_path)
    (made.bundle / "rootfs/bin/say").hardlink_to(sayer)
    yield made
    made.close()


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket that systemd listens at."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"{tmp_path}/systemd")
        listener.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", f"{tmp_path}/systemd")
        yield listener


def heard(systemd: socket.socket) -> list[bytes]:
    systemd.setblocking(False)
    found = []
    while True:
        try:
            found.append(systemd.recv(4096))
        except BlockingIOError:
            return found


def saying(oci: Oci, *words: str, stay: bool = False, **process: Any) -> None:
    def change(config: dict[str, Any]) -> None:
        config["process"].update(process, args=["say", *words])
        config["process"]["env"] += ["STAY=1"] * stay

    oci.configure(change)


def test_start_waits_until_the_container_is_ready_and_names_its_process(
    oci: Oci, systemd: socket.socket
) -> None:
    saying(oci, "STATUS=begins", "READY=1\nSTATUS=is there", stay=True)
    oci.create()
    oci("start", "c")

    assert heard(systemd) == [b"READY=1\n", b"MAINPID=%d\n" % oci.state()["pid"]]


def test_start_does_not_wait_for_one_that_ended_unready(oci: Oci, systemd: socket.socket) -> None:
    saying(oci, "STATUS=fails")
    oci.create()
    oci("start", "c")

    assert (heard(systemd), oci.status()) == ([], "stopped")


def test_what_it_said_last_is_heard(oci: Oci, systemd: socket.socket) -> None:
    saying(oci, "READY=1")
    oci.create()
    oci("start", "c")

    assert heard(systemd)[:1] == [b"READY=1\n"]


def test_run_in_the_foreground_says_no_process(oci: Oci, systemd: socket.socket) -> None:
    saying(oci, "READY=1")
    oci("run", "--bundle", oci.bundle, "c")

    assert heard(systemd) == [b"READY=1\n"]


def test_a_container_that_runs_detached_is_ready_when_run_returns(
    oci: Oci, systemd: socket.socket, tmp_path: Path
) -> None:
    saying(oci, "READY=1", stay=True)
    with (tmp_path / "out").open("w") as out:
        oci("run", "-d", "--bundle", oci.bundle, "c", capture_output=False, stdout=out, stderr=out)

    assert heard(systemd) == [b"READY=1\n", b"MAINPID=%d\n" % oci.state()["pid"]]


def test_an_ordinary_user_of_the_container_can_say_it(oci: Oci, systemd: socket.socket) -> None:
    saying(oci, "READY=1", user={"uid": 1000, "gid": 1000})
    oci("run", "--bundle", oci.bundle, "c")

    assert heard(systemd) == [b"READY=1\n"]


def test_it_cannot_write_into_the_directory_of_the_socket(oci: Oci, systemd: socket.socket) -> None:
    oci.configure(lambda c: c["process"].update(args=["touch", "/run/notify/more"]))
    done = oci("run", "--bundle", oci.bundle, "c", check=False)

    assert done.returncode != 0
    assert "Read-only file system" in done.stderr


def test_nothing_of_it_is_left(oci: Oci, systemd: socket.socket) -> None:
    saying(oci, "READY=1")
    oci.create()
    oci("start", "c")
    oci("delete", "--force", "c")

    assert oci.left() == []


def test_without_the_variable_a_container_has_no_socket(oci: Oci) -> None:
    assert "NOTIFY_SOCKET" not in os.environ
    saying(oci, "READY=1")

    assert oci("run", "--bundle", oci.bundle, "c", check=False).returncode == 3


def test_runc_says_the_same(oci: Oci, systemd: socket.socket, tmp_path: Path) -> None:
    saying(oci, "READY=1", stay=True)
    with (tmp_path / "out").open("w") as out:
        words = ["runc", "--root", str(tmp_path / "runc")]
        subprocess.run(
            [*words, "run", "-d", "--bundle", str(oci.bundle), "c"],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    said = heard(systemd)
    state = subprocess.run([*words, "state", "c"], check=True, capture_output=True, text=True)
    subprocess.run([*words, "delete", "--force", "c"], check=True)

    pid = json.loads(state.stdout)["pid"]

    assert said == [b"READY=1\n", b"MAINPID=%d\n" % pid]
