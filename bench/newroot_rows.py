"""newroot's own rows: the library, its command line, its OCI runtime.

All that this bench assumes of newroot's interface stands here and in client.py; what is
not there yet shows as "not built" in the table.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from measure import row
from peers import LIBRARY, PROCESS, oci
from rig import HERE, Resident, Rig, Unavailable

SOURCE = HERE.parent / "src"
LIBRARY_ROW = "newroot library"


def environment() -> dict[str, str]:
    """The interpreter's own newroot when it is installed there, else the source tree."""
    probe = [sys.executable, "-c", "from newroot import Engine"]
    for path in ("", str(SOURCE)):
        found = {"PYTHONPATH": path} if path else {}
        done = subprocess.run(
            probe, env={**os.environ, **found}, cwd="/", capture_output=True, check=False
        )
        if done.returncode == 0:
            return found
    raise Unavailable("not built")


def program(name: str) -> str:
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise Unavailable("not built")
    return str(path)


def library(rig: Rig, source: str, *words: str, root: str = "newroot") -> Resident:
    client = [sys.executable, str(HERE / "client.py"), "newroot"]
    return rig.start([*client, str(rig.directory(root)), source, *words], **environment())


def load(rig: Rig, layers: int = 1) -> str:
    """Load bench:latest with *layers* layers into a root of its own; return the root."""
    root = str(rig.directory(f"newroot-{layers}"))
    rig.call([program("newroot"), "--root", root, "load", "-i", str(rig.archive(layers))])
    return root


def load_one(rig: Rig) -> str:
    return load(rig)


IN_MEMORY = "floor, upper in memory"


@row("start", LIBRARY_ROW, LIBRARY, "Engine.run(rootfs='DIR:O'), output captured", IN_MEMORY)
def newroot_library(rig: Rig) -> Resident:
    return library(rig, f"{rig.rootfs}:O")


@row("start", "newroot library, image", LIBRARY, "Engine.run('bench'), captured", IN_MEMORY)
def newroot_image(rig: Rig) -> Resident:
    return library(rig, "bench:latest", root=Path(rig.once(load_one)).name)


@row("start", "newroot library, upper on disk", LIBRARY, "the same with upper='disk'")
def newroot_on_disk(rig: Rig) -> Resident:
    root = Path(rig.once(load_one)).name
    return library(rig, "bench:latest", "upper=disk", root=root)


@row("start", "newroot library, host network", LIBRARY, "no net namespace", "floor, host network")
def newroot_host_network(rig: Rig) -> Resident:
    return library(rig, f"{rig.rootfs}:O", "network=host")


@row("start", "newroot run IMAGE", PROCESS, "command line, image with an overlay")
def newroot_run(rig: Rig) -> Resident:
    command = [program("newroot"), "--root", rig.once(load_one), "run", "--rm"]
    return rig.start(rig.stopwatch(*command, "bench:latest", "/bin/true"))


@row("start", "newroot run --rootfs", PROCESS, "command line, directory with an overlay")
def newroot_run_rootfs(rig: Rig) -> Resident:
    command = [program("newroot"), "--root", str(rig.directory("newroot")), "run", "--rm"]
    return rig.start(rig.stopwatch(*command, "--rootfs", f"{rig.rootfs}:O", "/bin/true"))


@row("start", "newroot-oci", PROCESS, "runc's command line and runc's bundle")
def newroot_oci(rig: Rig) -> Resident:
    return rig.start(rig.stopwatch(*oci(rig, program("newroot-oci"))))


@row("start", "newroot-oci, seccomp", PROCESS, "the same with Docker's profile in the bundle")
def newroot_oci_filtered(rig: Rig) -> Resident:
    return rig.start(rig.stopwatch(*oci(rig, program("newroot-oci"), filtered=True)))
