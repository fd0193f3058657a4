"""Interfaces of the host that become the container's: config-linux.md, Network Devices."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from newroot.testing import needs

pytestmark = [needs("root", "netns"), pytest.mark.timeout(60)]

#: Its own for each run, for a name is the machine's.
NAME, PEER = f"nr{os.getpid() % 10**7}", f"np{os.getpid() % 10**7}"


def ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
    return done.stdout


def names(listed: str) -> list[str]:
    """The names in what ``ip -o link`` says."""
    return [line.split()[1].rstrip(":").partition("@")[0] for line in listed.splitlines()]


@pytest.fixture
def device() -> Iterator[str]:
    """One end of a pair on the host, with addresses.  Both are no more at the end."""
    ip("link", "add", NAME, "type", "veth", "peer", "name", PEER)
    try:
        ip("link", "set", NAME, "mtu", "1400", "address", "02:00:00:00:12:34")
        ip("address", "add", "192.0.2.1/24", "brd", "192.0.2.255", "dev", NAME)
        ip("address", "add", "192.0.2.9/32", "dev", NAME, "scope", "host")
        yield NAME
    finally:
        subprocess.run(["ip", "link", "delete", PEER], capture_output=True, check=False)


def test_it_is_moved_with_its_addresses_and_is_up(bundle: Any, device: str) -> None:
    bundle.config["linux"]["netDevices"] = {device: {}}
    code, output, errors = bundle.run("ip", "address", "show", device)

    assert code == 0, errors
    assert "UP" in output
    assert "mtu 1400" in output
    assert "02:00:00:00:12:34" in output
    assert "inet 192.0.2.1/24 brd 192.0.2.255 scope global" in output
    assert "192.0.2.9" not in output


@pytest.mark.parametrize("as_user", [0, 1000])
def test_it_gets_another_name(bundle: Any, device: str, as_user: int) -> None:
    bundle.config["linux"]["netDevices"] = {device: {"name": "eth0"}}
    bundle.config["process"]["user"] = {"uid": as_user, "gid": as_user}
    code, output, errors = bundle.run("ip", "-o", "link")

    assert code == 0, errors
    assert names(output) == ["lo", "eth0"]


def test_a_pattern_is_a_name_that_is_free(bundle: Any, device: str) -> None:
    bundle.config["linux"]["netDevices"] = {device: {"name": "net%d"}}
    code, output, errors = bundle.run("ip", "-o", "link")

    assert code == 0, errors
    assert names(output) == ["lo", "net0"]


def test_a_hook_sees_it_moved(bundle: Any, device: str) -> None:
    bundle.config["linux"]["netDevices"] = {device: {}}
    seen = bundle.directory / "seen"
    bundle.config["hooks"] = {
        "createRuntime": [
            {
                "path": "/bin/sh",
                "args": ["sh", "-c", f"cat /proc/net/dev >{seen}"],
                "env": [f"PATH={os.environ['PATH']}"],
            }
        ]
    }
    code, _, errors = bundle.run("true")

    assert code == 0, errors
    assert device not in seen.read_text()


@pytest.mark.parametrize(
    ("devices", "says"),
    [
        ({"nowhere0": {}}, "/linux/netDevices/nowhere0: the host has no interface"),
        ({"lo": {"name": "lo2"}}, "/linux/netDevices/lo"),
        ({"DEVICE": {"name": "lo"}}, "has an interface lo already"),
        ({"DEVICE": {"name": "a/b"}}, "/linux/netDevices/DEVICE/name"),
        ({"DEVICE": {"name": "x" * 16}}, "/linux/netDevices/DEVICE/name"),
    ],
)
def test_what_cannot_be_moved_is_refused_and_stays(
    bundle: Any, device: str, devices: dict[str, Any], says: str
) -> None:
    text = json.dumps(devices).replace("DEVICE", device)
    bundle.config["linux"]["netDevices"] = json.loads(text)
    code, _, errors = bundle.run("true")

    assert (code, says.replace("DEVICE", device) in errors) == (1, True), errors
    assert device in ip("-o", "link", "show", device)


def test_without_a_network_namespace_there_is_nowhere_to_move_it(bundle: Any, device: str) -> None:
    spaces = bundle.config["linux"]["namespaces"]
    bundle.config["linux"]["namespaces"] = [s for s in spaces if s["type"] != "network"]
    bundle.config["linux"]["netDevices"] = {device: {}}
    code, _, errors = bundle.run("true")

    assert (code, "/linux/netDevices: " in errors) == (1, True), errors
