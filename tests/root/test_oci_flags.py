"""Flags of newroot-oci that engines give it now and then, each by what comes of it."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from oci_bundles import Oci

from newroot.testing.needs import needs

pytestmark = [needs("root", "busybox"), pytest.mark.timeout(60)]


@pytest.fixture
def oci(tmp_path: Path) -> Iterator[Oci]:
    made = Oci(tmp_path)
    yield made
    made.close()


def received(listener: socket.socket) -> tuple[bytes, int]:
    """The name and the process of the pidfd that came."""
    connection, _ = listener.accept()
    with connection:
        name, rights, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4))
    (fd,) = array.array("i", rights[0][2])
    try:
        lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    finally:
        os.close(fd)
    return name, next(int(line.split()[1]) for line in lines if line.startswith("Pid:"))


def test_a_descriptor_of_the_process_is_sent_where_it_is_asked_for(
    oci: Oci, tmp_path: Path
) -> None:
    path = tmp_path / "pidfd"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(20)
        oci.create("c", "--pidfd-socket", path)

        assert received(listener) == (b"standard", oci.state()["pid"])
        oci("start", "c")
        words = ("exec", "--pidfd-socket", path, "--pid-file", tmp_path / "pid", "c", "true")
        oci(*words)
        connection, _ = listener.accept()
        with connection:
            name, rights, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4))
            os.close(array.array("i", rights[0][2])[0])

        assert name == b"setns"


def test_nobody_at_the_socket_is_an_error_and_no_container(oci: Oci, tmp_path: Path) -> None:
    done = oci.create("c", "--pidfd-socket", tmp_path / "none", check=False)

    assert done.returncode == 1
    assert "send the pidfd to" in done.stderr
    assert oci.left() == []


def test_kill_and_delete_find_containers_by_a_regular_expression(oci: Oci) -> None:
    for name in ("web-1", "web-2", "db"):
        oci.configure(
            lambda config, name=name: config["linux"].update(cgroupsPath=f"/{oci.mark}/{name}")
        )
        oci.create(name)
    oci("kill", "--regex", "^web-", "KILL")
    oci("delete", "--force", "--regex", "web")

    assert oci("list", "-q").stdout == "db\n"
    assert oci.status("db") == "created"
    assert "not a regular expression" in oci("kill", "-r", "(", check=False).stderr
