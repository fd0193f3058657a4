"""Networks: who reaches whom, under which names and ports, and what is left when all is over.

Everything happens in network namespaces that the tests make.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from network_hosts import HOST, HOST6, OUTSIDE, OUTSIDE6, Host

from newroot.testing.needs import needs

pytestmark = needs("root", "overlay", "busybox", "nft", "ip")

SERVE = ("httpd", "-f", "-h", "/etc", "-p", "80")
FETCH = ("timeout", "3", "busybox", "wget", "-qO-")


def get(url: str) -> tuple[str, ...]:
    """Fetch *url* in a container: busybox's own -T crashes, and its process 1 fears no signal."""
    return "sh", "-c", f"timeout 3 wget -qO- {url}; exit $?"


@pytest.fixture
def host(root: Path) -> Iterator[Host]:
    host = Host(root)
    yield host
    host.close()


def _address(host: Host, name: str, network: str = "bridge") -> str:
    document = json.loads(host.ok("network", "inspect", network))[0]
    address = next(c["IPv4Address"] for c in document["Containers"].values() if c["Name"] == name)
    return str(address.partition("/")[0])


def test_a_container_on_the_bridge_reaches_the_host_its_neighbour_and_outside(host: Host) -> None:
    host.start("web", "--network", "bridge", command=SERVE)
    web = _address(host, "web")
    gateway = web.rpartition(".")[0] + ".1"

    for target in (web, gateway, OUTSIDE):
        host.ok("run", "--rm", "--network", "bridge", "busybox", "ping", "-c1", "-W2", target)


def test_a_published_port_is_reached_from_everywhere(host: Host) -> None:
    container_id = host.start("web", "--network", "bridge", "-p", "8080:80", command=SERVE)
    url = "http://{}:8080/hostname"
    there = [host.outside.run(*FETCH, url.format(HOST)), host.run(*FETCH, url.format("127.0.0.1"))]
    there.append(host.run(*FETCH, url.format(HOST)))
    inside = host.ok("run", "--rm", "--network", "bridge", "busybox", *get(url.format(HOST)))
    hairpin = host.ok("exec", "web", *get(url.format(HOST)))

    assert {done.stdout.strip() for done in there} == {container_id[:12]}
    assert (inside, hairpin) == (container_id[:12], container_id[:12])
    assert "0.0.0.0:8080->80/tcp" in host.ok("ps")


def test_a_port_published_at_one_address_is_reached_there_alone(host: Host) -> None:
    host.start("web", "--network", "bridge", "-p", "127.0.0.1:8080:80", command=SERVE)

    assert host.run(*FETCH, "http://127.0.0.1:8080/hostname").returncode == 0
    assert host.outside.run(*FETCH, f"http://{HOST}:8080/hostname").returncode != 0


def test_a_port_in_use_is_an_error_that_names_who_has_it(host: Host) -> None:
    container_id = host.start("web", "--network", "bridge", "-p", "8080:80")
    ours = host.newroot("run", "--rm", "--network", "bridge", "-p", "8080:80", "busybox", "true")
    server = host.popen("busybox", "nc", "-l", "-p", "8081")
    try:
        while not host.run("ss", "-Hltn", "sport = 8081").stdout:
            pass
        theirs = host.newroot("run", "--rm", "--network", "bridge", "-p", "8081:1", "busybox", "id")
    finally:
        server.kill()
        server.communicate()

    assert f"publish port 8080/tcp: it is in use by container {container_id[:12]}" in ours.stderr
    assert f"it is in use by process {server.pid} (busybox)" in theirs.stderr
    assert (ours.returncode, theirs.returncode) == (125, 125)


def test_the_port_is_free_as_soon_as_the_container_has_ended(host: Host) -> None:
    host.start("web", "--network", "bridge", "-p", "8080:80", command=SERVE)
    host.ok("kill", "web")
    host.ok("wait", "web")
    # Nobody of ours is asked again: the monitor has seen to it.
    while "8080" in host.run("nft", "list", "ruleset").stdout:
        pass
    server = host.popen("busybox", "nc", "-l", "-p", "8080", "-e", "echo", "mine")
    while not host.run("ss", "-Hltn", "sport = 8080").stdout:
        assert server.poll() is None
    said = host.outside.run("busybox", "nc", HOST, "8080")
    server.communicate()

    assert said.stdout == "mine\n"


def test_a_restart_keeps_the_network_its_address_and_its_port(host: Host) -> None:
    words = ("--restart", "always", "--network", "bridge", "-p", "8080:80")
    host.start("web", *words, command=SERVE)
    before = _address(host, "web")
    first = host.ok("exec", "web", "cat", "/proc/sys/kernel/random/boot_id")  # it runs
    assert first
    pid = _first_process(host, "web")
    os.kill(pid, signal.SIGKILL)
    while _first_process(host, "web") in (0, pid):
        pass  # a tenth of a second: native/monitor.c
    for _ in range(100):
        done = host.outside.run(*FETCH, f"http://{HOST}:8080/hostname")
        if done.returncode == 0:
            break

    assert done.returncode == 0
    assert _address(host, "web") == before


def _first_process(host: Host, name: str) -> int:
    container_id = os.readlink(host.root / "names" / name)
    try:
        text = (host.root / "run" / container_id / "pid").read_text()
    except FileNotFoundError:
        return 0
    return int(text.split()[0]) if text else 0


def test_containers_of_one_network_know_each_other_by_name_and_alias(host: Host) -> None:
    host.ok("network", "create", "shop")
    host.start("db", "--network", "shop", "--network-alias", "database")
    for name in ("db", "database", "DB", "db.shop"):
        host.ok("run", "--rm", "--network", "shop", "busybox", "ping", "-c1", "-W2", name)
    unknown = host.newroot("run", "--rm", "--network", "bridge", "busybox", "nslookup", "db")

    assert unknown.returncode != 0


def test_networks_are_apart_but_for_published_ports(host: Host) -> None:
    for name in ("shop", "back"):
        host.ok("network", "create", name)
    host.start("web", "--network", "shop", "-p", "8080:80", command=SERVE)
    web = _address(host, "web", "shop")
    direct = host.newroot("run", "--rm", "--network", "back", "busybox", *get(f"http://{web}/"))
    published = host.ok(
        "run", "--rm", "--network", "back", "busybox", *get(f"http://{HOST}:8080/hostname")
    )
    host.outside.ip(f"route add {web.rpartition('.')[0]}.0/24 via {HOST}")
    routed = host.outside.run(*FETCH, f"http://{web}/hostname")

    assert direct.returncode != 0
    assert published
    assert routed.returncode != 0


def test_an_internal_network_has_no_way_out(host: Host) -> None:
    host.ok("network", "create", "--internal", "shop")
    host.start("db", "--network", "shop")

    host.ok("run", "--rm", "--network", "shop", "busybox", "ping", "-c1", "-W2", "db")
    out = host.newroot("run", "--rm", "--network", "shop", "busybox", "ping", "-c1", "-W1", OUTSIDE)
    assert out.returncode != 0


def test_a_container_shares_another_ones_network(host: Host) -> None:
    host.start("web", "--network", "bridge", command=SERVE)
    said = host.ok(
        "run", "--rm", "--network", "container:web", "busybox", *get("http://127.0.0.1/hostname")
    )

    assert said == os.readlink(host.root / "names" / "web")[:12]


def test_a_container_joins_and_leaves_a_network_while_it_runs(host: Host) -> None:
    for name in ("shop", "back"):
        host.ok("network", "create", name)
    host.start("web", "--network", "shop", command=SERVE)
    host.start("db", "--network", "back")
    host.ok("network", "connect", "--alias", "www", "back", "web")
    host.ok("exec", "db", *get("http://www/hostname"))
    host.ok("network", "disconnect", "back", "web")
    gone = host.newroot("exec", "db", *get("http://www/hostname"))

    assert gone.returncode != 0
    assert json.loads(host.ok("network", "inspect", "back"))[0]["Containers"].keys() == {
        os.readlink(host.root / "names" / "db")
    }


def test_nothing_is_left_of_a_network_that_was_removed(host: Host) -> None:
    host.ok("network", "create", "shop")
    host.start("web", "--network", "shop", "-p", "80", command=SERVE)
    refused = host.newroot("network", "rm", "shop")
    host.ok("rm", "-f", "web")
    host.ok("network", "rm", "shop")

    assert "is on it" in refused.stderr
    assert "nr" not in host.run("ip", "-br", "link").stdout
    assert host.run("nft", "list", "ruleset").stdout == ""
    assert os.listdir(host.root / "run" / "networks") == []


def test_a_killed_command_s_address_and_ports_are_found_by_the_next(host: Host) -> None:
    host.ok("network", "create", "--subnet", "10.77.0.0/29", "small")
    words = ("run", "--rm", "--network", "small", "-p", "8080:80", "busybox", "sh", "-c")
    for _ in range(7):  # more than there are addresses
        command = host.popen(
            "sh", "-c", f"exec {' '.join(map(_quoted, _newroot(host, *words, 'echo; sleep 99')))}"
        )
        assert command.stdout is not None
        command.stdout.readline()
        command.kill()
        command.communicate()

    host.ok("ps")
    assert json.loads(host.ok("network", "inspect", "small"))[0]["Containers"] == {}
    assert "8080" not in host.run("nft", "list", "ruleset").stdout


def _newroot(host: Host, *words: str) -> list[str]:
    from network_hosts import NEWROOT

    return [NEWROOT, "--root", str(host.root), *words]


def _quoted(word: str) -> str:
    import shlex

    return shlex.quote(word)


def test_names_of_all_networks_that_a_container_is_on_are_known_to_it(host: Host) -> None:
    for name in ("shop", "back"):
        host.ok("network", "create", name)
    host.start("web", "--network", "shop")
    host.start("db", "--network", "back")
    words = ("--network", "shop", "--network", "back", "busybox", "sh", "-c")
    host.ok("run", "--rm", *words, "ping -c1 -W2 web && ping -c1 -W2 db")
    stranger = host.newroot("run", "--rm", "--network", "shop", "busybox", "nslookup", "db")

    assert stranger.returncode != 0


def test_a_killed_responder_is_started_again_by_the_next_command(host: Host) -> None:
    host.ok("network", "create", "shop")
    host.start("db", "--network", "shop")
    responder = _responder(host)
    os.kill(responder, signal.SIGKILL)
    while os.path.exists(f"/proc/{responder}"):
        pass
    host.ok("ps")
    host.ok("run", "--rm", "--network", "shop", "busybox", "ping", "-c1", "-W2", "db")
    again = _responder(host)
    host.ok("rm", "-f", "db")
    while os.path.exists(f"/proc/{again}"):
        pass  # it ends with its last container

    assert again != responder


def _responder(host: Host) -> int:
    """The process that answers names, found by what it has open."""
    said = host.run("ss", "-Hulnp", "sport = 53").stdout
    return int(said.partition("pid=")[2].partition(",")[0])


@needs("pasta")
def test_pasta_reaches_out_and_is_reached_by_a_published_port(host: Host) -> None:
    container_id = host.start("web", "--network", "pasta", "-p", "8080:80", command=SERVE)
    inside = host.outside.popen("busybox", "httpd", "-f", "-h", "/etc", "-p", "81")
    try:
        while not host.outside.run("ss", "-Hltn", "sport = 81").stdout:
            pass
        out = host.newroot(
            "run", "--rm", "--network", "pasta", "busybox", *get(f"http://{OUTSIDE}:81/hostname")
        )
    finally:
        inside.kill()
        inside.communicate()
    said = host.outside.run(*FETCH, f"http://{HOST}:8080/hostname")
    helper = json.loads((host.root / "run" / container_id / "network.json").read_text())["helper"]
    host.ok("kill", "web")
    host.ok("wait", "web")
    while os.path.exists(f"/proc/{helper['pid']}"):
        pass  # it goes with its container

    assert said.stdout.strip() == container_id[:12]
    assert out.returncode == 0


def test_a_network_with_ipv6_is_reached_by_it(host: Host) -> None:
    host.ok("network", "create", "--ipv6", "six")
    container_id = host.start("web", "--network", "six", "-p", "8080:80", command=SERVE)
    said = host.outside.run(*FETCH, f"http://[{HOST6}]:8080/hostname")
    out = host.newroot(
        "run", "--rm", "--network", "six", "busybox", "ping6", "-c1", "-W2", OUTSIDE6
    )

    assert said.stdout.strip() == container_id[:12]
    assert out.returncode == 0


def test_fifty_starts_at_once_with_kills_give_no_address_twice(host: Host) -> None:
    host.ok("network", "create", "--subnet", "10.77.0.0/24", "crowd")
    words = ("run", "--rm", "--network", "crowd", "busybox", "sh", "-c")
    script = "ip -4 -o addr show eth0 | tr -s ' ' | cut -d' ' -f4; read x"
    commands = [_crowd(host, *words, script) for _ in range(50)]
    for number, command in enumerate(commands):
        if number % 5 == 4:  # some at once, whatever they are about
            command.kill()
    addresses = []
    for number, command in enumerate(commands):
        if number % 5 == 4:
            continue
        assert command.stdout is not None
        addresses.append(command.stdout.readline().strip())
    for command in commands:
        command.kill()
        command.communicate()
    host.ok("ps")

    assert "" not in addresses
    assert len(set(addresses)) == len(addresses) == 40
    assert json.loads(host.ok("network", "inspect", "crowd"))[0]["Containers"] == {}
    assert "nrv" not in host.run("ip", "-br", "link").stdout


def _crowd(host: Host, *words: str) -> subprocess.Popen[str]:
    argv = [*_newroot(host, *words)]
    argv.insert(argv.index("run") + 1, "-i")
    return subprocess.Popen(
        host.command(*argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
