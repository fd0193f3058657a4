"""What newroot is measured beside: one isolated /bin/true on a ready root filesystem.

Each row says what its peer does and does not do; none of them has exactly our list. To
add one, write a function that prepares it in the rig and starts its resident process.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import bundle
from measure import row
from rig import HERE, Resident, Rig, Unavailable, wait_until

SYSCALLS = "resident C"
LIBRARY = "resident Python"
PROCESS = "whole process"

APT = {
    "bwrap": "bubblewrap",
    "crun": "crun",
    "runc": "runc",
    "podman": "podman",
    "dockerd": "docker.io",
    "busybox": "busybox-static",
    "gcc": "gcc",
    "docker-registry": "docker-registry",
    "skopeo": "skopeo",
    "umoci": "umoci",
}
VERSIONS = {
    "unshare": ("unshare", "--version"),
    "bubblewrap": ("bwrap", "--version"),
    "crun": ("crun", "--version"),
    "runc": ("runc", "--version"),
    "podman": ("podman", "--version"),
    "docker": ("dockerd", "--version"),
    "gcc": ("gcc", "-dumpfullversion"),
}
PYPI = ("sandlock", "kern-sandbox")


@row("start", "floor", SYSCALLS, "the bare system calls: bench/floor.c")
def floor(rig: Rig) -> Resident:
    return rig.start(rig.floor("--serve"))


@row("start", "floor, host network", SYSCALLS, "in memory, without a network namespace")
def floor_host_network(rig: Rig) -> Resident:
    return rig.start(rig.floor("--serve", "--memory-upper", "--no-netns"))


@row("start", "floor, upper in memory", SYSCALLS, "the same with a throw-away upper on tmpfs")
def floor_memory_upper(rig: Rig) -> Resident:
    return rig.start(rig.floor("--serve", "--memory-upper"))


@row("start", "unshare", PROCESS, "6 namespaces, chroot, /proc; no overlay, /dev, caps, seccomp")
def unshare(rig: Rig) -> Resident:
    options = "--mount --uts --ipc --net --pid --cgroup --fork --mount-proc".split()
    program = rig.need("unshare")
    return rig.start(rig.stopwatch(program, *options, f"--root={rig.rootfs}", "/bin/true"))


@row("start", "bubblewrap", PROCESS, "6 namespaces, bind, /proc, /dev; no overlay, seccomp")
def bubblewrap(rig: Rig) -> Resident:
    apart = [f"--unshare-{kind}" for kind in ("pid", "uts", "ipc", "net", "cgroup")]
    tree = ["--ro-bind", str(rig.rootfs), "/", "--proc", "/proc", "--dev", "/dev"]
    command = [rig.need("bwrap"), *apart, *tree, "--die-with-parent", "/bin/true"]
    return rig.start(rig.stopwatch(*command))


def oci(rig: Rig, program: str, *options: str, filtered: bool = False) -> list[str]:
    """`PROGRAM run` of our bundle with a number for its id."""
    name = Path(program).name
    place = rig.directory(f"{name}-bundle{'-filtered' if filtered else ''}")
    bundle.write(place, rig.rootfs, filtered=filtered)
    state = str(rig.directory(f"{name}-state"))
    return [program, "--root", state, *options, "run", "--bundle", str(place), "bench-@"]


def crun_with(rig: Rig, *options: str, filtered: bool = False) -> Resident:
    command = oci(rig, rig.need("crun"), *options, filtered=filtered)
    environment = {"LD_PRELOAD": rig.built("memlock_shim.so")}
    return rig.start(rig.stopwatch(*command, options=["--cgroup2"]), **environment)


@row("start", "crun", PROCESS, "bundle on a directory: no overlay, no seccomp; one cgroup2 group")
def crun(rig: Rig) -> Resident:
    return crun_with(rig)


@row("start", "crun, no cgroup", PROCESS, "the same with --cgroup-manager=disabled")
def crun_without_cgroup(rig: Rig) -> Resident:
    return crun_with(rig, "--cgroup-manager=disabled")


@row("start", "crun, seccomp", PROCESS, "crun with Docker's profile in the bundle")
def crun_filtered(rig: Rig) -> Resident:
    return crun_with(rig, filtered=True)


@row("start", "runc", PROCESS, "bundle on a directory: no overlay, no seccomp; one cgroup2 group")
def runc(rig: Rig) -> Resident:
    command = oci(rig, rig.need("runc"))
    return rig.start(rig.stopwatch(*command, options=["--cgroup2"]))


@row("start", "runc, seccomp", PROCESS, "runc with Docker's profile in the bundle")
def runc_filtered(rig: Rig) -> Resident:
    command = oci(rig, rig.need("runc"), filtered=True)
    return rig.start(rig.stopwatch(*command, options=["--cgroup2"]))


@row("start", "runc, v1 cgroups", PROCESS, "runc with the host's own cgroup mounts")
def runc_v1(rig: Rig) -> Resident:
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        raise Unavailable("this host has cgroup2 only: the same as runc")
    return rig.start(rig.stopwatch(*oci(rig, rig.need("runc"))))


@row("start", "sandlock", LIBRARY, "Landlock and seccomp, a supervisor; no namespaces, mounts")
def sandlock(rig: Rig) -> Resident:
    python = rig.python("sandlock")
    return rig.start([python, str(HERE / "client.py"), "sandlock", str(rig.rootfs)])


def kern_home(rig: Rig) -> dict[str, str]:
    home, run = rig.directory("kern/home"), rig.directory("kern/run")
    return {"HOME": str(home), "XDG_RUNTIME_DIR": str(run)}


@row("start", "kern-sandbox", LIBRARY, "user and 6 other namespaces, overlay of an image, seccomp")
def kern_sandbox(rig: Rig) -> Resident:
    python = rig.python("kern-sandbox")
    home = kern_home(rig)
    rig.call([str(Path(python).parent / "kern"), "load", "-i", str(rig.archive())], **home)
    return rig.start([python, str(HERE / "client.py"), "kern", "bench:latest"], **home)


@row("start", "kern box", PROCESS, "the same from its command line, overlay of a directory")
def kern_box(rig: Rig) -> Resident:
    program = str(Path(rig.python("kern-sandbox")).parent / "kern")
    command = [program, "box", "bench@", "--rootfs", str(rig.rootfs), "--", "/bin/true"]
    return rig.start(rig.stopwatch(*command), **kern_home(rig))


@row("start", "kern box, bound root", PROCESS, "the same with --bind-rootfs instead of an overlay")
def kern_box_bound(rig: Rig) -> Resident:
    program = str(Path(rig.python("kern-sandbox")).parent / "kern")
    root = ["--rootfs", str(rig.rootfs), "--bind-rootfs"]
    command = [program, "box", "bound@", *root, "--", "/bin/true"]
    return rig.start(rig.stopwatch(*command), **kern_home(rig))


CONTAINERS_CONF = """\
[containers]
default_ulimits=["nofile=4096:4096","nproc=1000:1000"]
[engine]
runtime="runc"
cgroup_manager="cgroupfs"
events_logger="file"
"""


class Podman:
    """podman with storage, /run and locks of its own, an image loaded."""

    def __init__(self, rig: Rig) -> None:
        home = rig.directory(type(self).__name__)
        (home / "containers.conf").write_text(CONTAINERS_CONF)
        storage = f'graphroot="{home}/storage"\nrunroot="{home}/run"\n'
        (home / "storage.conf").write_text(f'[storage]\ndriver="overlay"\n{storage}')
        self.environment = {
            "HOME": str(home),
            "CONTAINERS_CONF": str(home / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(home / "storage.conf"),
        }
        self.prefix = rig.enter_private("/run", "/dev/shm")
        self.program = rig.need("podman")
        self.rig = rig
        self.call("load", "--quiet", "--input", str(rig.archive()))

    def call(self, *arguments: str) -> str:
        return self.rig.call([*self.prefix, self.program, *arguments], **self.environment)

    def time(self, *arguments: str) -> Resident:
        command = self.rig.stopwatch(self.program, *arguments)
        return self.rig.start([*self.prefix, *command], **self.environment)


class Docker:
    """A dockerd of our own: its own data, state, socket and /run; no network."""

    network: tuple[str, ...] = ("--iptables=false", "--ip6tables=false", "--bridge=none")
    around: Sequence[str] = ()  #: a command prefix into other namespaces

    def __init__(self, rig: Rig) -> None:
        home = rig.directory(type(self).__name__)
        (home / "daemon.json").write_text("{}")
        self.environment = {
            "HOME": str(home),
            "DOCKER_CONFIG": str(home),
            "DOCKER_HOST": f"unix://{home}/socket",
        }
        daemon = [
            rig.need("dockerd"),
            *("--config-file", str(home / "daemon.json"), "--pidfile", str(home / "pid")),
            *("--data-root", str(home / "data"), "--exec-root", str(home / "exec")),
            *("--host", self.environment["DOCKER_HOST"], "--storage-driver", "overlay2"),
            *self.network,
        ]
        guard = [rig.need("setpriv"), "--pdeathsig", "TERM"]
        prefix = rig.enter_private("/run", "/dev/shm")
        command = [*self.around, *prefix, *guard, *daemon]
        server = rig.start(command, PATH=f"{os.environ['PATH']}:/usr/sbin")
        self.program = rig.need("docker")
        self.rig = rig
        wait_until(lambda: server.process.poll() is not None or self.is_ready(), "dockerd")
        if server.process.poll() is not None:
            raise Unavailable(f"dockerd: {server.last_words()}")
        self.call("load", "--quiet", "--input", str(rig.archive()))

    def is_ready(self) -> bool:
        try:
            self.call("version")
        except Unavailable:
            return False
        return True

    def call(self, *arguments: str) -> str:
        return self.rig.call([self.program, *arguments], **self.environment)

    def time(self, *arguments: str) -> Resident:
        return self.rig.start(self.rig.stopwatch(self.program, *arguments), **self.environment)


TRUE = ("run", "--rm", "--network", "none", "bench:latest", "/bin/true")


@row("start", "podman", PROCESS, "everything, by conmon and runc; --network none")
def podman(rig: Rig) -> Resident:
    return rig.once(Podman).time(*TRUE)


@row("start", "docker", PROCESS, "everything, by dockerd, containerd, shim, runc; --network none")
def docker(rig: Rig) -> Resident:
    return rig.once(Docker).time(*TRUE)
