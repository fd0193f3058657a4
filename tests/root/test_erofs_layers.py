"""Layers that are EROFS files: containers on them are as on directories, and so is all else.

That both kinds hold the same is tested where unpacking is (tests/unit/images/test_unpack.py and
tests/hostile/images run for both).
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from newroot.engine import Engine
from newroot.images.bootstrap import bootstrap_busybox
from newroot.images.flat import import_tar
from newroot.images.layers import fill_layer
from newroot.images.staged import Staged, make_locked
from newroot.linux.erofs import open_layer
from newroot.linux.mountinfo import read_mounts
from newroot.testing.archives import Archive
from newroot.testing.needs import needs
from newroot.testing.roots import find_busybox

pytestmark = needs("root", "overlay", "busybox", "erofs")

Newroot = Callable[..., str]
CHANGE = "echo new >/etc/new; rm -r /bin/arch /home; mkdir /home; chmod 701 /root; ln /etc/new /l"


@pytest.fixture
def erofs(tmp_path: Path) -> Iterator[Engine]:
    """An engine with busybox as an EROFS layer, and new layers as such too."""
    with Engine(tmp_path / "root", run_root=str(tmp_path / "run"), layers_as="erofs") as engine:
        bootstrap_busybox(engine.images, "busybox", find_busybox())
        yield engine


@pytest.fixture
def newroot(erofs: Engine, newroot_command: str) -> Newroot:
    def run(*words: str, code: int = 0, **environment: str) -> str:
        done = subprocess.run(
            [newroot_command, "--root", erofs.root, "--run-root", erofs.run_root, *words],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "NEWROOT_LAYERS": "erofs", **environment},
        )
        assert code == done.returncode, done.stderr
        return done.stdout + done.stderr

    return run


def layers_of(engine: Engine) -> list[str]:
    return sorted(name for name in os.listdir(engine.images.layers) if not name.startswith("."))


def test_a_container_runs_on_a_file_that_nobody_else_sees_mounted(erofs: Engine, newroot: Newroot):
    newroot("run", "-d", "--name", "it", "busybox", "sleep", "100")
    mounted = [mount.fstype for mount in read_mounts()]
    inside = newroot("exec", "it", "cat", "/proc/self/mountinfo")
    tree = json.loads(newroot("mounts", "--format", "json", "it"))
    newroot("rm", "-f", "it")

    assert "erofs" not in mounted
    assert " - erofs " not in inside
    [lower] = tree["filesystems"][0]["overlay"]["lower"]
    assert [lower["path"]] == list(erofs.images.get("busybox").layers)
    assert ["busybox:latest"] == lower["images"]


@pytest.mark.parametrize("kept", ["erofs", "directories"])
def test_what_is_committed_on_files_is_right_whichever_kind_its_own_layer_is(
    erofs: Engine, newroot: Newroot, kept: str
):
    newroot("run", "--name", "cc", "busybox", "sh", "-c", CHANGE)
    listed = newroot("diff", "cc").splitlines()
    newroot("commit", "cc", "mine", NEWROOT_LAYERS=kept)
    probe = "cat /l; stat -c '%a %h' /root /l; ls -A /home; ls /bin/arch 2>&1; true"
    out = newroot("run", "--rm", "mine", "sh", "-c", probe).splitlines()

    assert {"A /etc/new", "D /bin/arch", "C /root", "A /l"} <= set(listed)
    assert ["new", "701 1", "644 2", "ls: /bin/arch: No such file or directory"] == out
    assert 1 + (kept == "erofs") == sum(name.endswith(".erofs") for name in layers_of(erofs))


def test_a_user_of_the_image_s_own_is_found_in_a_file(erofs: Engine):
    made = Archive()
    passwd = made.file("etc/passwd", b"root:x:0:0::/:\nmine:x:1234:77::/:\n")
    with open(find_busybox(), "rb") as file:
        data = made.of(passwd, made.file("bin/id", file.read(), mode=0o755))
    import_tar(erofs.images, io.BytesIO(data), "users")

    told = erofs.run("users", ["id"], user="mine", capture_output=True, text=True)
    assert "uid=1234(mine) gid=77\n" == told.stdout


def test_an_export_from_files_is_the_one_from_directories(
    erofs: Engine, newroot: Newroot, tmp_path: Path
):
    newroot("run", "--name", "one", "busybox", "sh", "-c", CHANGE)
    newroot("save", "-o", str(tmp_path / "saved"), "busybox")
    with Engine(tmp_path / "plain", run_root=str(tmp_path / "run2")) as plain:
        plain.load(str(tmp_path / "saved"))
        assert not any(name.endswith(".erofs") for name in layers_of(plain))
        plain.run("busybox", ["sh", "-c", CHANGE], name="one", rm=False, upper="disk")
        members = []
        for engine in (erofs, plain):
            engine.export("one", str(tmp_path / "exported"))
            with tarfile.open(tmp_path / "exported") as tar:
                members.append(
                    [(m.name, m.type, m.mode, m.uid, m.gid, m.size, m.linkname) for m in tar]
                )

    assert members[0] == members[1]
    assert ("etc/new", b"0") in [member[:2] for member in members[0]]


@pytest.mark.parametrize("userns", ["private", "host"])
def test_a_user_namespace_sees_its_own_ids_in_a_file(newroot: Newroot, userns: str):
    out = newroot("run", "--rm", "--userns", userns, "busybox", "stat", "-c", "%u %g", "/bin", "/")

    assert ["0 0", "0 0"] == out.splitlines()


def test_the_doctor_sees_an_altered_byte_and_makes_the_file_anew(erofs: Engine, newroot: Newroot):
    newroot("run", "--name", "cc", "busybox", "sh", "-c", "seq 100000 > /numbers")
    newroot("commit", "cc", "mine")
    path = Path(erofs.images.get("mine").layers[0])
    whole = path.read_bytes()
    at = whole.index(b"\n77777\n")
    path.write_bytes(whole[:at] + b"\n77778\n" + whole[at + 7 :])
    told = newroot("doctor", code=1)
    mended = newroot("doctor", "--repair")

    assert "is altered: '/numbers': other content" in told
    assert "unpacked anew" in mended
    assert whole == path.read_bytes(), "the same tar gives the same file"
    newroot("doctor")


def test_the_doctor_mends_a_file_that_is_no_file_system_any_more(erofs: Engine, newroot: Newroot):
    path = Path(erofs.images.get("busybox").layers[0])
    os.truncate(path, 1000)
    refused = newroot("run", "--rm", "busybox", "true", code=125)
    newroot("doctor", code=1)
    newroot("doctor", "--repair")

    assert "doctor --repair" in refused
    assert "" == newroot("run", "--rm", "busybox", "true")


def test_removing_and_pruning_take_files_too(erofs: Engine, newroot: Newroot):
    newroot("run", "--name", "cc", "busybox", "sh", "-c", CHANGE)
    newroot("commit", "cc", "mine")
    (Path(erofs.images.layers) / f"{'0' * 64}.erofs").write_bytes(b"an orphan")
    newroot("image", "prune", "-f")
    after_prune = layers_of(erofs)
    newroot("rm", "cc")
    newroot("rmi", "mine", "busybox")

    assert 2 == len(after_prune)
    assert [] == layers_of(erofs)


def test_a_user_without_rights_gets_directories_and_is_told(tmp_path: Path, newroot_command: str):
    archive = tmp_path / "a.tar"
    archive.write_bytes(Archive.of(Archive().file("x")))
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", newroot_command, "--root", tmp_path / "root",
         "import", "--layers", "erofs", archive, "it"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert "new layers are directories: only root of the whole machine may mount EROFS" in (
        done.stderr
    )
    [layer] = (tmp_path / "root/layers").iterdir()
    assert layer.is_dir()


@pytest.mark.slow
def test_a_directory_of_a_hundred_thousand_files(tmp_path: Path):
    count = 100_000
    header = tarfile.TarInfo()
    tar = b"".join(
        (setattr(header, "name", f"d/{i * 7919 % count:06}"), header.tobuf())[1]
        for i in range(count)
    )
    path = str(tmp_path / "it.erofs")
    stream = io.BytesIO(tar + bytes(1024))
    fill(lambda: stream.read(1 << 20), make_locked(path, directory=False))
    root = open_layer(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        d = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=root)
        try:
            assert [f"{i:06}" for i in range(count)] == sorted(os.listdir(d))
            for name in ("000000", "054321", "099999"):
                assert os.stat(name, dir_fd=d).st_size == 0
            with pytest.raises(FileNotFoundError):
                os.stat("100000", dir_fd=d)
        finally:
            os.close(d)
    finally:
        os.close(root)


def fill(chunks: Callable[[], bytes], layer: Staged) -> None:
    fill_layer(chunks, layer, what="it")
    layer.close()
