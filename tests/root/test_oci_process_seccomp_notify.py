"""A filter that asks somebody outside: config-linux.md, Seccomp, listenerPath."""

from __future__ import annotations

import array
import fcntl
import json
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from newroot.testing import needs

pytestmark = [needs("root", "seccomp-notify"), pytest.mark.timeout(60)]

# SECCOMP_IOCTL_NOTIF_RECV and _SEND: linux/seccomp.h
RECEIVE, SEND = 0xC0502100, 0xC0182101
CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE
MKDIR, WRITE, READ, EXECVE, CAPSET = 83, 1, 0, 59, 126  # x86_64
EEXIST, ENOMEDIUM = 17, 123


class Agent:
    """Listens at a socket as an agent does: takes one listener, and answers what it is asked."""

    def __init__(self, path: Path) -> None:
        self.documents: list[dict[str, Any]] = []
        self.asked: list[int] = []
        self.closed: list[bytes] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except OSError:  # nobody came, and we were closed
            return
        with connection:
            data, ancillary, _, _ = connection.recvmsg(1 << 16, socket.CMSG_SPACE(64))
            while more := connection.recv(1 << 16):
                data += more
        self.documents.append(json.loads(data))
        fds = array.array("i")
        for _, _, raw in ancillary:
            fds.frombytes(raw)
        assert len(fds) == len(self.documents[0]["fds"]) == 1
        try:
            self._answer(fds[0])
        finally:
            os.close(fds[0])

    def _answer(self, listener: int) -> None:
        import select

        poll = select.poll()
        poll.register(listener, select.POLLIN)
        while True:
            # When the last process under the filter is gone it hangs up: seccomp_unotify(2).
            if not any(event & select.POLLIN for _, event in poll.poll()):
                return
            notification = bytearray(80)
            try:
                fcntl.ioctl(listener, RECEIVE, notification)
            except FileNotFoundError:  # whoever asked was killed meanwhile
                continue
            which, _, _, number = struct.unpack_from("QIIi", notification)
            self.asked.append(number)
            error, flags = (-ENOMEDIUM, 0) if number == MKDIR else (0, CONTINUE)
            fcntl.ioctl(listener, SEND, struct.pack("QqiI", which, 0, error, flags))

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
        self._thread.join(30)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(tmp_path / "agent")
    yield agent
    agent.close()


def notify(bundle: Any, *names: str, **more: Any) -> None:
    bundle.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(bundle.directory / "agent"),
        "syscalls": [{"names": list(names), "action": "SCMP_ACT_NOTIFY"}],
        **more,
    }


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_a_call_is_answered_by_who_listens(
    bundle: Any, agent: Agent, no_new_privileges: bool
) -> None:
    notify(bundle, "mkdir", listenerMetadata="for the agent")
    bundle.config["process"]["noNewPrivileges"] = no_new_privileges
    bundle.config["annotations"] = {"a": "b"}
    code, _, errors = bundle.run("mkdir", "/made")
    agent.close()

    assert (code, "No medium found" in errors) == (1, True), errors
    assert agent.asked == [MKDIR]
    (document,) = agent.documents
    pid = document["pid"]
    assert document == {
        "ociVersion": "1.3.0",
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": "for the agent",
        "state": {
            "ociVersion": "1.3.0",
            "id": "case",
            "bundle": str(bundle.directory),
            "annotations": {"a": "b"},
            "status": "creating",
            "pid": pid,
        },
    }
    assert pid > 1


def test_what_newroot_init_itself_still_calls_hangs_nothing(bundle: Any, agent: Agent) -> None:
    notify(bundle, *"read sendmsg recvmsg close execve capset prctl chdir setresuid".split())
    bundle.config["process"]["user"] = {"uid": 5, "gid": 6}
    code, output, errors = bundle.run("id", "-u")
    agent.close()

    assert (code, output) == (0, "5\n"), errors
    assert agent.asked[:3] == [READ, CAPSET, EXECVE]


def test_nobody_listening_is_an_error(bundle: Any) -> None:
    notify(bundle, "mkdir")
    code, _, errors = bundle.run("true")

    assert code == 1
    assert "/linux/seccomp/listenerPath: hand the listener to" in errors


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"listenerPath": None}, "/linux/seccomp/listenerPath"),
        ({"listenerPath": "", "listenerMetadata": "x"}, "/linux/seccomp/listenerMetadata"),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "/linux/seccomp/defaultAction"),
    ],
)
def test_what_cannot_be_listened_to_is_refused(
    bundle: Any, changes: dict[str, Any], pointer: str
) -> None:
    notify(bundle, "mkdir", **changes)
    code, _, errors = bundle.run("true")

    assert (code, pointer in errors) == (1, True), errors


def test_a_filter_that_asks_nobody_needs_no_listener(bundle: Any) -> None:
    notify(bundle, "mkdir")
    bundle.config["linux"]["seccomp"]["syscalls"][0]["action"] = "SCMP_ACT_ERRNO"
    code, _, errors = bundle.run("true")

    assert code == 0, errors
