"""One scene of networks for the table of who reaches whom: by newroot, and by podman beside it.

    shop (IPv4, IPv6)   web (alias www; ports 8080 tcp, 8080 udp, 8081 at 127.0.0.1), peer, both
    back (IPv4, IPv6)   db, both
    vault (internal)    safe, guard

Everything is in network and mount namespaces of its own: network_hosts.py.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from network_hosts import HOST, HOST6, OUTSIDE, OUTSIDE6, Host

SERVE = "httpd -h /www -p 80; exec /udp_echo 81"
NETWORKS = {
    "shop": ("10.61.0.0/24", "fd61::/64"),
    "back": ("10.62.0.0/24", "fd62::/64"),
    "vault": ("10.63.0.0/24",),
}
#: container -> networks with its addresses, and what else is said
CONTAINERS: dict[str, tuple[dict[str, tuple[str, ...]], tuple[str, ...]]] = {
    "web": (
        {"shop": ("10.61.0.10", "fd61::10")},
        ("-p", "8080:80", "-p", "8080:81/udp", "-p", "127.0.0.1:8081:80",
         "--network-alias", "www"),
    ),
    "peer": ({"shop": ("10.61.0.11", "fd61::11")}, ()),
    "both": ({"shop": ("10.61.0.12", "fd61::12"), "back": ("10.62.0.12", "fd62::12")}, ()),
    "db": ({"back": ("10.62.0.10", "fd62::10")}, ("-p", "9090:80")),
    "safe": ({"vault": ("10.63.0.10",)}, ()),
    "guard": ({"vault": ("10.63.0.11",)}, ()),
}  # fmt: skip


class Scene:
    """The containers of one engine, which run until ``close()``."""

    def __init__(self, directory: Path, echo: Path) -> None:
        self.host = Host(directory / "root")
        www = directory / "www"
        www.mkdir()
        (www / "index.html").write_text("here\n")
        self.files = ("-v", f"{www}:/www:ro", "-v", f"{echo}:/udp_echo:ro")
        self._servers = [
            self.host.outside.popen("busybox", "httpd", "-f", "-h", str(www), "-p", "80"),
            self.host.outside.popen(str(echo), "81"),
        ]

    def begin(self) -> None:
        for name, subnets in NETWORKS.items():
            self.make_network(name, subnets)
        for name, (networks, words) in CONTAINERS.items():
            on = [self.attachment(n, addresses) for n, addresses in networks.items()]
            flags = [word for each in on for word in ("--network", each)]
            self.engine("run", "-d", "--name", name, *flags, *words, *self.files,
                        self.image, "sh", "-c", SERVE)  # fmt: skip
        # Outside knows the way, as a neighbour could: what keeps it out is the engine.
        for subnet in ("10.61.0.0/24", "10.62.0.0/24", "10.63.0.0/24"):
            self.host.outside.ip(f"route add {subnet} via {HOST}")
        for subnet in ("fd61::/64", "fd62::/64"):
            self.host.outside.ip(f"-6 route add {subnet} via {HOST6}")

    image = "busybox"

    def engine(self, *words: str) -> str:
        raise NotImplementedError

    def make_network(self, name: str, subnets: tuple[str, ...]) -> None:
        raise NotImplementedError

    def attachment(self, network: str, addresses: tuple[str, ...]) -> str:
        raise NotImplementedError

    def inside(self, container: str, script: str) -> bool:
        raise NotImplementedError

    def reaches(self, who: str, how: str, target: str) -> bool:
        """Whether *who* (a container, ``host`` or ``outside``) reaches *target* (host:port)."""
        address, _, port = target.rpartition(":")
        if how == "tcp":
            script = f"timeout 4 wget -qO- http://{target}/ | grep -q here; exit $?"
        elif how == "udp":
            script = f"/udp_echo {address.strip('[]')} {port}; exit $?"
        else:
            ping = "ping6" if ":" in target else "ping"
            script = f"{ping} -c1 -W2 {target} >/dev/null; exit $?"
        if who not in ("host", "outside"):
            return self.inside(who, script)
        space = self.host if who == "host" else self.host.outside
        if how == "udp":
            script = script.replace("/udp_echo", self.files[3].partition(":")[0])
        script = script.replace("wget", "busybox wget").replace("ping", "busybox ping", 1)
        script = script.replace("busybox busybox", "busybox")
        return space.run("sh", "-c", script, timeout=60).returncode == 0

    def close(self) -> None:
        for server in self._servers:
            server.kill()
            server.communicate()
        self.host.close()


class Newroot(Scene):
    """The scene by newroot."""

    def engine(self, *words: str) -> str:
        return self.host.ok(*words)

    def make_network(self, name: str, subnets: tuple[str, ...]) -> None:
        flags = [word for subnet in subnets for word in ("--subnet", subnet)]
        internal = ("--internal",) if name == "vault" else ()
        self.host.ok("network", "create", *flags, *internal, name)

    def attachment(self, network: str, addresses: tuple[str, ...]) -> str:
        keys = [f"{'ip6' if ':' in address else 'ip'}={address}" for address in addresses]
        return f"{network}:{','.join(keys)}"

    def inside(self, container: str, script: str) -> bool:
        return self.host.newroot("exec", container, "sh", "-c", script, timeout=60).returncode == 0


class Podman(Scene):
    """The scene by podman with netavark and aardvark-dns, its networks isolated as ours are."""

    image = "localhost/scene"

    def __init__(self, directory: Path, echo: Path, archive: Path, short: str) -> None:
        super().__init__(directory, echo)
        conf = directory / "containers.conf"
        conf.write_text(
            '[containers]\ndefault_ulimits=["nofile=4096:4096","nproc=1000:1000"]\n'
            '[engine]\nruntime="runc"\ncgroup_manager="cgroupfs"\nevents_logger="file"\n'
            f'[network]\nnetwork_backend="netavark"\nnetwork_config_dir="{directory}/networks"\n'
        )
        self._env = {"CONTAINERS_CONF": str(conf), "TMPDIR": str(directory)}
        self._options = ("--root", f"{directory}/s", "--runroot", f"{short}/r",
                         "--storage-driver", "vfs")  # fmt: skip
        policy = directory / "policy.json"
        policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        self.engine("import", str(archive), self.image)

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.host.run("podman", *self._options, *words, env=self._env, timeout=120)

    def engine(self, *words: str) -> str:
        done = self._run(*words)

        assert done.returncode == 0, done.stderr
        return done.stdout

    def make_network(self, name: str, subnets: tuple[str, ...]) -> None:
        flags = [word for subnet in subnets for word in ("--subnet", subnet)]
        kind = ("--internal",) if name == "vault" else ("--opt", "isolate=true")
        six = ("--ipv6",) if len(subnets) > 1 else ()
        self.engine("network", "create", *flags, *kind, *six, name)

    def attachment(self, network: str, addresses: tuple[str, ...]) -> str:
        return f"{network}:{','.join(f'ip={address}' for address in addresses)}"

    def inside(self, container: str, script: str) -> bool:
        return self._run("exec", container, "sh", "-c", script).returncode == 0

    def close(self) -> None:
        self._run("rm", "-fa", "-t", "0")
        super().close()


#: (who, how, target, whether it is reached)
TABLE: tuple[tuple[str, str, str, bool], ...] = (
    # ---- on one network: by address and by name ----
    ("peer", "ping", "10.61.0.10", True),
    ("peer", "tcp", "10.61.0.10:80", True),
    ("peer", "udp", "10.61.0.10:81", True),
    ("peer", "ping", "fd61::10", True),
    ("peer", "tcp", "[fd61::10]:80", True),
    ("peer", "udp", "[fd61::10]:81", True),
    ("peer", "tcp", "web:80", True),
    ("peer", "tcp", "www:80", True),
    ("peer", "tcp", "both:80", True),
    ("web", "tcp", "peer:80", True),
    ("web", "tcp", "web:80", True),
    ("guard", "tcp", "safe:80", True),
    ("guard", "tcp", "10.63.0.10:80", True),
    ("guard", "udp", "10.63.0.10:81", True),
    # ---- on two networks ----
    ("both", "tcp", "10.61.0.10:80", True),
    ("both", "tcp", "10.62.0.10:80", True),
    ("both", "tcp", "[fd62::10]:80", True),
    ("both", "tcp", "web:80", True),
    ("both", "tcp", "db:80", True),
    ("db", "tcp", "both:80", True),
    ("db", "tcp", "10.62.0.12:80", True),
    # ---- apart ----
    ("peer", "ping", "10.62.0.10", False),
    ("peer", "tcp", "10.62.0.10:80", False),
    ("peer", "udp", "10.62.0.10:81", False),
    ("peer", "tcp", "[fd62::10]:80", False),
    ("peer", "tcp", "db:80", False),
    ("db", "tcp", "10.61.0.10:80", False),
    ("db", "tcp", "web:80", False),
    ("db", "tcp", "10.63.0.10:80", False),
    ("peer", "tcp", "10.63.0.10:80", False),
    ("safe", "tcp", "10.61.0.10:80", False),
    ("safe", "tcp", "web:80", False),
    ("safe", "udp", "10.62.0.10:81", False),
    # ---- out ----
    ("peer", "ping", OUTSIDE, True),
    ("peer", "tcp", f"{OUTSIDE}:80", True),
    ("peer", "udp", f"{OUTSIDE}:81", True),
    ("peer", "tcp", f"[{OUTSIDE6}]:80", True),
    ("db", "tcp", f"{OUTSIDE}:80", True),
    ("both", "tcp", f"{OUTSIDE}:80", True),
    ("safe", "ping", OUTSIDE, False),
    ("safe", "tcp", f"{OUTSIDE}:80", False),
    # ---- in, by a published port ----
    ("outside", "tcp", f"{HOST}:8080", True),
    ("outside", "udp", f"{HOST}:8080", True),
    ("outside", "tcp", f"[{HOST6}]:8080", True),
    ("outside", "tcp", f"{HOST}:9090", True),
    ("outside", "tcp", f"{HOST}:8081", False),
    ("outside", "tcp", f"{HOST}:80", False),
    ("host", "tcp", "127.0.0.1:8080", True),
    ("host", "tcp", "127.0.0.1:8081", True),
    ("host", "tcp", f"{HOST}:8080", True),
    ("host", "udp", "127.0.0.1:8080", True),
    ("host", "tcp", f"[{HOST6}]:8080", True),
    ("peer", "tcp", f"{HOST}:8080", True),
    ("web", "tcp", f"{HOST}:8080", True),  # hairpin
    ("web", "udp", f"{HOST}:8080", True),
    ("peer", "tcp", f"{HOST}:9090", True),  # another network's
    # ---- in, past the ports ----
    ("outside", "tcp", "10.61.0.10:80", False),
    ("outside", "tcp", "[fd61::10]:80", False),
    ("outside", "tcp", "10.63.0.10:80", False),
    # ---- the host itself ----
    ("host", "tcp", "10.61.0.10:80", True),
    ("host", "tcp", "10.63.0.10:80", True),
    ("peer", "ping", "10.61.0.1", True),
    ("peer", "ping", HOST, True),
)
