"""Hosts that a test makes: network namespaces joined by a cable, and newroot in one of them.

Nothing of the real host's network is touched.  A namespace is held by a process of its own, so it
goes when that does, whatever becomes of the test.
"""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

NEWROOT = f"{sysconfig.get_path('scripts')}/newroot"

HOST, OUTSIDE = "192.0.2.1", "192.0.2.2"  # RFC 5737
HOST6, OUTSIDE6 = "2001:db8::1", "2001:db8::2"  # RFC 3849


_SPACES = (("net", "net"), ("mount", "mnt"))


class Space:
    """A network namespace of its own, and mounts that nobody else sees."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            [
                "unshare",
                "--net",
                "--mount",
                "--",
                "sh",
                "-c",
                "ip link set lo up; echo; exec sleep 3600",
            ],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        self._holder.stdout.readline()
        self.pid = self._holder.pid

    def command(self, *argv: str) -> list[str]:
        spaces = [f"--{kind}=/proc/{self.pid}/ns/{file}" for kind, file in _SPACES]
        return ["nsenter", *spaces, "--", *argv]

    def run(
        self,
        *argv: str,
        timeout: float = 30,
        check: bool = False,
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*argv),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=check,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
        )

    def popen(self, *argv: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*argv),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **(env or {})},
        )

    def ip(self, words: str) -> None:
        self.run("ip", *words.split(), check=True)

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()
        if self._holder.stdout is not None:
            self._holder.stdout.close()


class Host(Space):
    """A host with newroot on it, which forwards nothing yet, and a cable to ``outside``."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.outside = Space()
        self.ip(f"link add up0 type veth peer name up0 netns {self.outside.pid}")
        for space, four, six in ((self, HOST, HOST6), (self.outside, OUTSIDE, OUTSIDE6)):
            space.ip(f"address add {four}/24 dev up0")
            space.ip(f"address add {six}/64 dev up0 nodad")
            space.ip("link set up0 up")
        self.ip(f"route add default via {OUTSIDE}")
        self.ip(f"-6 route add default via {OUTSIDE6}")
        self.run("sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward")

    def newroot(self, *words: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        return self.run(NEWROOT, "--root", str(self.root), *words, timeout=timeout)

    def ok(self, *words: str) -> str:
        """Run a command of newroot's that must succeed; what it printed."""
        done = self.newroot(*words)

        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start(self, name: str, *words: str, command: tuple[str, ...] = ("sleep", "600")) -> str:
        """Start a container that stays; its id."""
        return self.ok("run", "-d", "--name", name, *words, "busybox", *command)

    def close(self) -> None:
        names = self.newroot("ps", "-aq").stdout.split()
        if names:
            self.newroot("rm", "-f", *names)
        self.outside.close()
        super().close()
