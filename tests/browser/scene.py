"""A host small enough to be looked at: run by the ``scene`` fixture in namespaces of its own.

    unshare --mount --uts --ipc --pid --cgroup --fork --mount-proc python scene.py OUTPUT NEWROOT

Starts containers below /srv, which is a tmpfs here, writes what ``newroot view`` makes of them to
OUTPUT, says where the live page is, and ends with its standard input.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

from newroot.container.pipes import PIPE
from newroot.engine import Engine
from newroot.images.archive import load_archive
from newroot.images.bootstrap import _applets, _root, _static_program
from newroot.images.store import ImageStore
from newroot.testing.archives import Archive
from newroot.testing.roots import find_busybox

ROOT = "/srv/newroot"
KEPT = ("/proc", "/sys", "/dev")
SHOP = (
    "rm /bin/vi; echo welcome > /etc/motd; echo 2 > /app/version; mkdir -p /run/shop;"
    "head -c 300000 /dev/urandom > /run/shop/cache; cat"
)


def main(output: Path, command: str) -> None:
    tidy()
    store = ImageStore(ROOT)
    load_archive(store, io.BytesIO(image()))
    os.makedirs("/srv/photos")
    environment = {**os.environ, "NEWROOT_ROOT": ROOT, "NEWROOT_RUN_ROOT": f"{ROOT}/run"}
    os.environ.update(environment)

    def newroot(*words: str) -> None:
        # Our own standard output says where the live page is, and nothing else.
        subprocess.run([command, *words], check=True, env=environment, stdout=subprocess.DEVNULL)

    newroot("run", "--rm", "--timeline", str(output / "start.json"), "shop:1.4", "true")
    newroot("run", "--name", "report", "-v", "orders:/orders:ro", "shop:1.4", "true")
    newroot("snapshot", "report", "done")
    newroot("fork", "report", "report-2")
    with Engine(ROOT) as engine:
        start(engine, "shop", SHOP, volumes=["orders:/var/orders", "/srv/photos:/photos:ro"])
        start(engine, "orders-db", "cat", volumes=["orders:/data", "wal:/wal"], network="host")
        shop = next(c.pid for c in engine.containers() if c.name == "shop")
        probe = ["nsenter", "--target", str(shop), "--net", "--uts", "busybox", "sleep", "600"]
        beside = subprocess.Popen(probe)
        newroot("view", "-o", str(output / "host.html"), "--timeline", str(output / "start.json"))
        for name in ("namespaces", "layers", "mounts", "volumes", "snapshots", "timeline"):
            words = ("--svg", name, "-o", str(output / f"{name}.svg"))
            newroot("view", *words, "--timeline", str(output / "start.json"), "shop")
        server = subprocess.Popen(
            [command, "view", "--serve"], env=environment, stdout=subprocess.PIPE, text=True
        )
        assert server.stdout is not None
        print(server.stdout.readline().strip(), flush=True)
        for line in sys.stdin:
            start(engine, line.strip(), "cat")
            print("started", flush=True)
        for process in (server, beside):
            process.terminate()
            process.wait()


_processes = []


def start(engine: Engine, name: str, script: str, **words: object) -> None:
    """Start a container, and return when it has done what comes before it waits."""
    process = engine.popen(
        "shop:1.4",
        ["sh", "-c", f"{script}"],
        stdin=PIPE,
        stdout=PIPE,
        name=name,
        upper="disk",
        **words,
    )
    process.stdin.write(b"ready\n")
    process.stdin.flush()
    process.stdout.readline()  # cat, the last of every script, has said it again
    _processes.append(process)


def tidy() -> None:
    """A mount table that says nothing of where the test ran."""
    subprocess.run(["hostname", "harbour"], check=True)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    with open("/proc/self/mounts") as table:
        points = [line.split()[1] for line in table]
    for point in reversed(points):
        if point != "/" and not point.startswith(KEPT):
            subprocess.run(["umount", "-l", point], check=False, stderr=subprocess.DEVNULL)
    for point in ("/dev/shm", "/dev/pts"):
        if points.count(point) > 1:
            subprocess.run(["umount", "-l", point], check=False)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "srv", "/srv"], check=True)


def image() -> bytes:
    """A docker-archive of three layers: a system, what the shop needs, the shop."""
    make = Archive()
    program = find_busybox()
    layers = [
        _root(_static_program(program), _applets(program)),
        make.of(
            make.directory("opt"),
            make.directory("opt/shop"),
            *(make.file(f"opt/shop/lib{n}.so", bytes(90_000)) for n in range(6)),
            make.file("etc/passwd", b"root:x:0:0::/root:/bin/sh\nshop:x:1000:1000::/:/bin/sh\n"),
            make.file("usr/bin/.wh.telnet", b""),
            make.file("usr/bin/.wh.wget", b""),
        ),
        make.of(
            make.directory("app"),
            make.file("app/version", b"1\n"),
            *(make.file(f"app/page{n}.html", bytes(4_000)) for n in range(40)),
            make.file("opt/shop/lib3.so", bytes(120_000)),
        ),
    ]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["sh"]},
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers],
        },
    }
    names = [f"{number}.tar" for number in range(len(layers))]
    manifest = [{"Config": "config.json", "RepoTags": ["shop:1.4"], "Layers": names}]
    members = [
        make.file("manifest.json", json.dumps(manifest).encode()),
        make.file("config.json", json.dumps(config).encode()),
        *(make.file(name, layer) for name, layer in zip(names, layers, strict=True)),
    ]
    return make.of(*members, format=tarfile.PAX_FORMAT)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
