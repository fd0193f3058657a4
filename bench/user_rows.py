"""A start by an ordinary user, 1000 (scripts/as-user): newroot's, podman's and bubblewrap's.

The user has a range of subordinate ids and a home of its own. newroot makes its user namespace for
each start anew, which is what the first command of a user pays, or goes into the one that a
container of the user's keeps; podman has a process that keeps its namespace.
"""

from __future__ import annotations

import os

from measure import row
from newroot_rows import program
from peers import CONTAINERS_CONF, PROCESS
from rig import HERE, Resident, Rig

AS_USER = str(HERE.parent / "scripts" / "as-user")


def as_user(rig: Rig, name: str) -> dict[str, str]:
    """The environment for AS_USER: a home called *name*."""
    home = rig.directory(f"user-{name}")
    os.chown(home, 1000, 1000)
    rig.dir.chmod(0o755)  # the user reads the image's archive, and the rootfs
    return {"AS_USER_HOME": str(home)}


class NewrootUser:
    """A user's store with the image in it."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.environment = as_user(rig, "newroot")
        self.call(program("newroot"), "load", "-i", str(rig.archive()))

    def call(self, *argv: str) -> str:
        return self.rig.call([AS_USER, *argv], **self.environment)

    def time(self) -> Resident:
        words = [program("newroot"), "run", "--rm", "--network", "none", "bench:latest"]
        command = self.rig.stopwatch(*words, "/bin/true")
        return self.rig.start([AS_USER, *command], **self.environment)


class PodmanUser:
    """The same for podman, with storage on its own overlay."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.environment = as_user(rig, "podman")
        home = rig.directory("user-podman")
        (home / "containers.conf").write_text(CONTAINERS_CONF)
        (home / "storage.conf").write_text(
            '[storage]\ndriver="overlay"\ngraphroot="/media/home/storage"\n'
            'runroot="/media/home/run/containers"\n'
        )
        self.environment["CONTAINERS_CONF"] = "/media/home/containers.conf"
        self.environment["CONTAINERS_STORAGE_CONF"] = "/media/home/storage.conf"
        words = [rig.need("podman"), "load", "--quiet", "--input", str(rig.archive())]
        rig.call([AS_USER, *words], **self.environment)

    def time(self) -> Resident:
        words = [self.rig.need("podman"), "run", "--rm", "--network", "none", "bench:latest"]
        command = self.rig.stopwatch(*words, "/bin/true")
        return self.rig.start([AS_USER, *command], **self.environment)


@row("start, user", "newroot run IMAGE", PROCESS, "a namespace with a range, an overlay, seccomp")
def newroot_user(rig: Rig) -> Resident:
    return rig.once(NewrootUser).time()


@row("start, user", "podman", PROCESS, "the same, in the namespace that its process keeps")
def podman_user(rig: Rig) -> Resident:
    return rig.once(PodmanUser).time()


@row("start, user", "bubblewrap", PROCESS, "a single id, 7 namespaces, bind; no overlay, seccomp")
def bubblewrap_user(rig: Rig) -> Resident:
    apart = [f"--unshare-{kind}" for kind in ("user", "pid", "uts", "ipc", "net", "cgroup")]
    tree = ["--ro-bind", str(rig.rootfs), "/", "--proc", "/proc", "--dev", "/dev"]
    command = [rig.need("bwrap"), *apart, *tree, "--die-with-parent", "/bin/true"]
    return rig.start([AS_USER, *rig.stopwatch(*command)], **as_user(rig, "bwrap"))
