"""Pull and unpack: an image of some 500 MB from a registry on loopback, by us and by others.

The files are this host's own, from /usr, so their sizes and how well they compress are a real
image's: one layer of some 15,000 of them, and the same in twenty layers. Each way starts from a
new, empty store. podman is told to use its native overlay. Nobody's page cache is dropped: what is
compared is work, not the disk.

Nothing is removed before the end: ext4 looks over each inode that was freed in the last minutes
before it takes one (fs/ext4/ialloc.c, recently_deleted), so who comes after a removal of 15,000
files would pay for it, with several times the time that is measured here.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import newroot_rows
from measure import figure
from peers import Podman
from rig import Rig, wait_until

from newroot.images.platform import host_platform

GROUP = "pull and unpack"
FILES, BYTES = 15_000, 500_000_000
QUICK = 10  # a quick run takes a tenth
FILE_MAX = 20_000_000
TOPS = ("/usr/lib", "/usr/share", "/usr/bin")
SEED = 7


class Registry:
    """docker-registry with the images, and what they were made of."""

    def __init__(self, rig: Rig) -> None:
        self.dir = rig.directory("registry")
        self.host = f"127.0.0.1:{_free_port()}"
        settings = {
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(self.dir / "data")}},
            "http": {"addr": self.host},
        }
        (self.dir / "config.yml").write_text(json.dumps(settings))
        self.config = self.dir / "containers-registries.conf"
        self.config.write_text(f'[[registry]]\nlocation = "{self.host}"\ninsecure = true\n')
        program = rig.need("docker-registry")
        process = subprocess.Popen(
            [program, "serve", str(self.dir / "config.yml")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        rig.undo.callback(process.wait)
        rig.undo.callback(process.terminate)
        wait_until(lambda: _listens(self.host), "docker-registry")
        self.tars: dict[int, list[Path]] = {}

    def image(self, rig: Rig, layers: int, *, quick: bool) -> str:
        """The name of the image of *layers* layers, made at the first call."""
        name = f"{self.host}/bench/{layers}:1"
        if layers not in self.tars:
            self.tars[layers] = write_tars(self.dir, layers, quick=quick)
            layout = self.dir / f"layout-{layers}"
            write_layout(layout, self.tars[layers])
            rig.call(
                [rig.need("skopeo"), "copy", "-q", "--dest-tls-verify=false", "--preserve-digests",
                 f"oci:{layout}:it", f"docker://{name}"]
            )  # fmt: skip
        return name


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(host: str) -> bool:
    import socket

    try:
        with socket.create_connection((host.partition(":")[0], int(host.partition(":")[2])), 1):
            return True
    except OSError:
        return False


def chosen_files(*, quick: bool) -> list[str]:
    """Files of whole directories, up to so many and so many bytes, the same on each run."""
    count, size = (FILES // QUICK, BYTES // QUICK) if quick else (FILES, BYTES)
    directories = []
    for top in TOPS:
        for directory, _, names in os.walk(top):
            paths = [os.path.join(directory, name) for name in sorted(names)]
            files = [path for path in paths if os.path.isfile(path) and not os.path.islink(path)]
            if files and max(map(os.path.getsize, files)) < FILE_MAX:
                directories.append(files)
    random.Random(SEED).shuffle(directories)
    found: list[str] = []
    total = 0
    for files in directories:
        more = sum(map(os.path.getsize, files))
        if len(found) + len(files) <= count and total + more <= size:
            found += files
            total += more
    return sorted(found)


def write_tars(directory: Path, layers: int, *, quick: bool) -> list[Path]:
    files = chosen_files(quick=quick)
    share = -(-len(files) // layers)
    made = []
    for number in range(layers):
        path = directory / f"layer-{layers}-{number}.tar"
        with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
            seen: set[str] = set()
            for file in files[number * share : (number + 1) * share]:
                for parent in reversed(Path(file).parents):
                    if str(parent) != "/" and str(parent) not in seen:
                        seen.add(str(parent))
                        tar.add(parent, arcname=str(parent)[1:], recursive=False)
                tar.add(file, arcname=file[1:], recursive=False)
        made.append(path)
    return made


def write_layout(layout: Path, tars: list[Path]) -> None:
    """An OCI layout of gzip layers, tagged ``it``."""
    import hashlib

    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, kind: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {
            "mediaType": f"application/vnd.oci.image.{kind}",
            "digest": f"sha256:{digest}",
            "size": len(data),
        }

    layers, diff_ids = [], []
    for tar in tars:
        data = tar.read_bytes()
        diff_ids.append(f"sha256:{hashlib.sha256(data).hexdigest()}")
        compressed = gzip.compress(data, 6, mtime=0)
        tar.with_suffix(".tar.gz").write_bytes(compressed)
        tar.unlink()
        layers.append(put(compressed, "layer.v1.tar+gzip"))
    config = {
        "architecture": host_platform().architecture,
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": put(json.dumps(config).encode(), "config.v1+json"),
        "layers": layers,
    }
    named = put(json.dumps(manifest).encode(), "manifest.v1+json")
    named["annotations"] = {"org.opencontainers.image.ref.name": "it"}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


# ── the ways ─────────────────────────────────────────────────────────────────────────────────


def timed(do: Callable[[], object]) -> float:
    os.sync()  # what was done before is not to be paid for by who comes now
    start = time.perf_counter()
    do()
    return (time.perf_counter() - start) * 1000


def fresh(rig: Rig, name: str) -> Path:
    """A directory that nobody has used."""
    return rig.directory(f"{name}-{time.monotonic_ns()}")


def newroot(rig: Rig, layers: int, quick: bool, kind: str = "directories") -> float:
    registry = rig.once(Registry)
    name = registry.image(rig, layers, quick=quick)
    command = [
        newroot_rows.program("newroot"), "--root", str(fresh(rig, "pulled")), "pull", "-q",
        "--tls-verify=false", "--layers", kind,
    ]  # fmt: skip
    return timed(lambda: rig.call([*command, name]))


def newroot_erofs(rig: Rig, layers: int, quick: bool) -> float:
    return newroot(rig, layers, quick, "erofs")


def podman(rig: Rig, layers: int, quick: bool) -> float:
    registry = rig.once(Registry)
    name = registry.image(rig, layers, quick=quick)
    engine = rig.once(Podman)
    # podman takes no longer name for the second; its /run is its own.
    store = ("--root", str(fresh(rig, "podman")), "--runroot", f"/run/{time.monotonic_ns()}")
    engine.call(*store, "images")  # what podman makes in a new store is not the pull's
    return timed(lambda: engine.call(*store, "pull", "-q", "--tls-verify=false", name))


def skopeo_and_umoci(rig: Rig, layers: int, quick: bool) -> float:
    registry = rig.once(Registry)
    name = registry.image(rig, layers, quick=quick)
    here = fresh(rig, "umoci")
    skopeo, umoci = rig.need("skopeo"), rig.need("umoci")

    def both() -> None:
        rig.call([skopeo, "copy", "-q", "--src-tls-verify=false", f"docker://{name}",
                  f"oci:{here}/layout:it"])  # fmt: skip
        rig.call([umoci, "unpack", "--image", f"{here}/layout:it", f"{here}/bundle"])

    return timed(both)


def tar(rig: Rig, layers: int, quick: bool) -> float:
    registry = rig.once(Registry)
    registry.image(rig, layers, quick=quick)
    here = fresh(rig, "tar")

    def extract() -> None:
        for layer in registry.tars[layers]:
            rig.call(["tar", "-C", str(here), "-xzf", str(layer.with_suffix(".tar.gz"))])

    return timed(extract)


def _register(layers: int, words: str) -> None:
    ways: tuple[tuple[str, str, Callable[[Rig, int, bool], float]], ...] = (
        ("newroot pull", "everything verified, on disk at the end", newroot),
        ("newroot pull --layers erofs", "the same, each layer one file", newroot_erofs),
        ("podman pull", "overlay", podman),
        ("skopeo copy, umoci unpack", "into an OCI layout, then a bundle", skopeo_and_umoci),
        ("tar -xzf", "alone: no registry, nothing verified", tar),
    )
    for name, note, way in ways:
        figure(GROUP, f"{name}, {words}", "ms", note)(
            lambda rig, quick, way=way: way(rig, layers, quick)
        )


_register(1, "one layer")
_register(20, "twenty layers")


@figure(GROUP, "newroot pull, nothing new", "ms", "the whole command, one request")
def unchanged(rig: Rig, quick: bool) -> float:
    registry = rig.once(Registry)
    name = registry.image(rig, 1, quick=quick)
    root = rig.directory("pulled-already")
    command = [
        newroot_rows.program("newroot"), "--root", str(root), "pull", "-q", "--tls-verify=false",
        name,
    ]  # fmt: skip
    rig.call(command)
    return min(timed(lambda: rig.call(command)) for _ in range(5))
