"""Networks: a start on a bridge, and what goes through a published port, beside podman and docker.

Each engine is in a network namespace of its own, which has a cable to another one, the outside.
podman's network is netavark's, docker's its default bridge with its userland proxy.
"""

from __future__ import annotations

import sys

from measure import figure, row
from newroot_rows import load_one, program
from peers import PROCESS, Docker, Podman
from rig import HERE, Resident, Rig, Unavailable, wait_until

GROUP = "network"
HOST, OUTSIDE = "192.0.2.1", "192.0.2.2"
REQUESTS, REQUESTS_QUICK = 1000, 100
BYTES, BYTES_QUICK = 1 << 30, 1 << 26
PORT, SENDING = "8080", "8090"
_SERVE = (
    "/bin/busybox httpd -h / -p 80; "
    "while :; do /bin/busybox nc -l -p 90 -e /bin/busybox dd if=/dev/zero bs=1M; done"
)


class Cable:
    """Two network namespaces, joined."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self._unshare = [rig.need("unshare"), "--net", "--", rig.need("cat")]
        self.host, self.outside = self._space(), self._space()
        self._ip(self.host, f"link add up0 type veth peer name up0 netns {self.outside}")
        for space, address in ((self.host, HOST), (self.outside, OUTSIDE)):
            for words in ("link set lo up", f"address add {address}/24 dev up0",
                          "link set up0 up"):  # fmt: skip
                self._ip(space, words)
        self._ip(self.host, f"route add default via {OUTSIDE}")

    def _space(self) -> int:
        process = self.rig.start(self._unshare).process
        own = self._inode("self")
        wait_until(lambda: self._inode(str(process.pid)) != own, "a network namespace")
        return process.pid

    @staticmethod
    def _inode(pid: str) -> str:
        import os

        return os.readlink(f"/proc/{pid}/ns/net")

    def enter(self, pid: int) -> list[str]:
        return [self.rig.need("nsenter"), f"--net=/proc/{pid}/ns/net", "--"]

    def _ip(self, pid: int, words: str) -> None:
        self.rig.call([*self.enter(pid), self.rig.need("ip"), *words.split()])

    def ask(self, what: str, port: str, count: int) -> float:
        client = [sys.executable, str(HERE / "network_client.py"), what, HOST, port, str(count)]
        return float(self.rig.call([*self.enter(self.outside), *client]))


class Newroot:
    """newroot in a namespace of its own."""

    def __init__(self, rig: Rig) -> None:
        self.cable, self.rig = Cable(rig), rig
        rig.need("nft")
        self.prefix = [*self.cable.enter(self.cable.host), program("newroot"), "--root"]
        self.prefix.append(rig.once(load_one))

    def call(self, *words: str) -> str:
        return self.rig.call([*self.prefix, *words])

    def time(self, *words: str) -> Resident:
        return self.rig.start(self.rig.stopwatch(*self.prefix, *words))


class BridgedPodman(Podman):
    """podman with netavark in a namespace of its own."""

    def __init__(self, rig: Rig) -> None:
        super().__init__(rig)
        self.cable = Cable(rig)
        self.prefix = [*self.prefix, *self.cable.enter(self.cable.host)]
        home = rig.directory(type(self).__name__)
        conf = home / "containers.conf"
        networks = f'network_backend="netavark"\nnetwork_config_dir="{home}/networks"\n'
        conf.write_text(conf.read_text() + f"[network]\n{networks}")


class BridgedDocker(Docker):
    """A dockerd of our own in a namespace of its own, with its default bridge."""

    network = ()

    def __init__(self, rig: Rig) -> None:
        self.cable = Cable(rig)
        self.around = self.cable.enter(self.cable.host)
        super().__init__(rig)


def newroot(rig: Rig) -> Newroot:
    return rig.once(Newroot)


TRUE = ("bench:latest", "/bin/true")


@row(GROUP, "newroot run, bridge", PROCESS, "the default network: an address, a way out")
def newroot_bridge(rig: Rig) -> Resident:
    return newroot(rig).time("run", "--rm", "--network", "bridge", *TRUE)


@row(GROUP, "newroot run, none", PROCESS, "the same without a network")
def newroot_none(rig: Rig) -> Resident:
    return newroot(rig).time("run", "--rm", "--network", "none", *TRUE)


@row(GROUP, "newroot run, bridge, -p", PROCESS, "with a published port: nft is asked twice")
def newroot_port(rig: Rig) -> Resident:
    return newroot(rig).time("run", "--rm", "--network", "bridge", "-p", "80", *TRUE)


@row(GROUP, "newroot run, pasta", PROCESS, "by pasta")
def newroot_pasta(rig: Rig) -> Resident:
    rig.need("pasta")
    return newroot(rig).time("run", "--rm", "--network", "pasta", *TRUE)


@row(GROUP, "podman run, bridge", PROCESS, "its default network, by netavark")
def podman_bridge(rig: Rig) -> Resident:
    return rig.once(BridgedPodman).time("run", "--rm", "--network", "podman", *TRUE)


@row(GROUP, "podman run, bridge, -p", PROCESS, "with a published port")
def podman_port(rig: Rig) -> Resident:
    return rig.once(BridgedPodman).time("run", "--rm", "--network", "podman", "-p", "80", *TRUE)


@row(GROUP, "docker run, bridge", PROCESS, "its default network")
def docker_bridge(rig: Rig) -> Resident:
    return rig.once(BridgedDocker).time("run", "--rm", *TRUE)


class Served:
    """A container of one engine that serves, until the next one's turn."""

    def __init__(self, engine: Newroot | BridgedPodman | BridgedDocker, network: str) -> None:
        self.engine, self.network = engine, network

    def ask(self, what: str, quick: bool) -> float:
        requests, received = (
            (REQUESTS_QUICK, BYTES_QUICK) if quick else (REQUESTS, BYTES)
        )  # fmt: skip
        port = PORT if what == "requests" else SENDING
        count = requests if what == "requests" else received
        ports = ("-p", f"{PORT}:80", "-p", f"{SENDING}:90")
        self.engine.call("run", "-d", "--name", "served", "--network", self.network, *ports,
                         "bench:latest", "/bin/sh", "-c", _SERVE)  # fmt: skip
        try:
            wait_until(lambda: self._serves(PORT, "requests"), "the server in the container")
            return self.engine.cable.ask(what, port, count)
        finally:
            self.engine.call("rm", "-f", "served")

    def _serves(self, port: str, what: str) -> bool:
        try:
            return self.engine.cable.ask(what, port, 1) > 0
        except Unavailable:
            return False


ENGINES = (
    ("newroot, bridge", Newroot, "bridge"),
    ("newroot, pasta", Newroot, "pasta"),
    ("podman, bridge", BridgedPodman, "podman"),
    ("docker, bridge", BridgedDocker, "bridge"),
)


def _register() -> None:
    for name, engine, network in ENGINES:
        for what, unit, note in (
            ("requests", "per second", "from outside through a published port, one at a time"),
            ("bytes", "MB/s", "1 GiB from a container to outside, through a published port"),
        ):

            def find(
                rig: Rig, quick: bool, engine: type = engine, network: str = network,
                what: str = what,
            ) -> float:  # fmt: skip
                if network == "pasta":
                    rig.need("pasta")
                return Served(rig.once(engine), network).ask(what, quick)

            figure(GROUP, f"{name}, {what}", unit, note)(find)


_register()
