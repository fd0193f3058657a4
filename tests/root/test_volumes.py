"""Volumes in real containers: who uses them, what they are made of, how they come and go."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import newroot
from newroot.engine import Engine
from newroot.errors import NewrootError, NotFound, StateError, UnsafeEntry, UsageError, WrongStatus
from newroot.testing import needs

pytestmark = [needs("root", "overlay", "busybox"), pytest.mark.timeout(60)]


@pytest.fixture
def made(engine: Engine) -> Iterator[list[str]]:
    """Ids of containers, which are gone with the test."""
    ids: list[str] = []
    yield ids
    for container_id in ids:
        try:
            engine.remove_container(container_id, force=True)
        except NotFound:
            pass


def create(engine: Engine, made: list[str], *command: str, **words: object) -> str:
    made.append(engine.create("busybox", list(command or ("sleep", "1000")), **words))
    return made[-1]


def run(engine: Engine, line: str, **words: object) -> str:
    done = engine.run("busybox", ["sh", "-c", line], capture_output=True, text=True, **words)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def names(engine: Engine) -> set[str]:
    return {volume.name for volume in engine.volumes.list()}


# ── use ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", ["created", "running", "exited"])
def test_one_that_a_container_has_is_not_removed(
    engine: Engine, made: list[str], state: str
) -> None:
    box = create(engine, made, volumes=["data:/data"])
    if state != "created":
        engine.start(box)
    if state == "exited":
        engine.stop(box, timeout=0)
    with pytest.raises(WrongStatus, match="in use"):
        engine.volumes.remove("data")
    assert engine.volumes.prune(every=True) == ()
    assert engine.volumes.is_used("data")

    engine.remove_container(box, force=True)
    assert not engine.volumes.is_used("data")
    assert engine.volumes.prune(every=True) == ("data",)


def test_one_of_a_throwaway_container_is_free_when_it_has_ended(engine: Engine) -> None:
    run(engine, "echo x > /data/x", volumes=["data:/data"])

    assert not engine.volumes.is_used("data")


def test_anonymous_ones_go_with_rm_v_and_stay_without(engine: Engine, made: list[str]) -> None:
    first = create(engine, made, volumes=["/data"])
    assert len(names(engine)) == 1
    engine.remove_container(first)
    assert len(names(engine)) == 1
    second = create(engine, made, volumes=["/data"])
    engine.remove_container(second, with_volumes=True)

    assert len(names(engine)) == 1
    assert len(engine.volumes.prune()) == 1


def test_what_is_put_there_before_the_first_start_is_there(
    engine: Engine, made: list[str], tmp_path: Path
) -> None:
    (tmp_path / "early").write_text("before\n")
    box = create(engine, made, volumes=["/data"])
    engine.copy_to(tmp_path / "early", box, "/data")
    engine.start(box)

    done = engine.exec(box, ["cat", "/data/early"])
    assert done.stdout == b"before\n"


def test_rm_and_a_start_never_both_win(engine: Engine, root: Path) -> None:
    """Whoever comes first, no container runs on a volume that is gone."""
    lost = []
    with Engine(root) as other:
        for _ in range(40):
            engine.volumes.create("data")
            go = threading.Barrier(2)

            def remove(go: threading.Barrier = go) -> None:
                go.wait()
                try:
                    other.volumes.remove("data", missing_ok=True)
                except WrongStatus:
                    pass

            removing = threading.Thread(target=remove)
            removing.start()
            go.wait()
            text = run(engine, "echo kept > /data/x; cat /data/x", volumes=["data:/data"])
            removing.join()
            there = Path(engine.volumes.data_path("data"), "x")
            if text != "kept\n" or (engine.volumes.is_used("data") and not there.exists()):
                lost.append(text)
            engine.volumes.remove("data", missing_ok=True)

    assert lost == []


def test_prune_and_creates_at_once_leave_every_container_its_volume(
    engine: Engine, root: Path, made: list[str]
) -> None:
    done = threading.Event()

    def prune() -> None:
        with Engine(root) as other:
            while not done.is_set():
                other.volumes.prune(every=True)

    pruning = threading.Thread(target=prune)
    pruning.start()
    try:
        boxes = [create(engine, made, volumes=[f"v{n}:/data", "/more"]) for n in range(30)]
    finally:
        done.set()
        pruning.join()

    for box in boxes:
        for mount in engine.settings_of(box).mounts:
            assert os.path.isdir(engine.volumes.data_path(str(mount.source)))


# ── volumes-from ─────────────────────────────────────────────────────────────────────────────


def test_volumes_from_another_container(engine: Engine, made: list[str], tmp_path: Path) -> None:
    (tmp_path / "bound").mkdir()
    first = create(engine, made, volumes=["data:/data", "/more", f"{tmp_path}/bound:/bound"])
    engine.start(first)
    engine.exec(first, ["sh", "-c", "echo 1 > /data/x; echo 2 > /more/x; echo 3 > /bound/x"])

    assert run(engine, "cat /data/x /more/x /bound/x", volumes_from=first) == "1\n2\n3\n"
    line = "echo y > /data/y 2>/dev/null || echo closed"
    assert run(engine, line, volumes_from=f"{first}:ro") == "closed\n"
    assert run(engine, "ls /data; cat /more/x", volumes_from=first, tmpfs="/data") == "2\n"
    with pytest.raises(NotFound):
        run(engine, "true", volumes_from="nobody")


def test_an_anonymous_one_stays_while_another_has_it(engine: Engine, made: list[str]) -> None:
    first = create(engine, made, volumes=["/data"])
    second = create(engine, made, volumes_from=first)
    engine.remove_container(first, with_volumes=True)
    assert len(names(engine)) == 1
    engine.start(second)
    engine.exec(second, ["touch", "/data/x"], check=True)
    engine.remove_container(second, force=True)

    assert engine.volumes.prune() != ()


# ── options ──────────────────────────────────────────────────────────────────────────────────


def options(*texts: str) -> tuple[tuple[str, str], ...]:
    from newroot.rootfs.volume_options import parse_options

    return parse_options(texts)


def test_a_tmpfs_has_its_size_and_begins_with_the_images_files(engine: Engine) -> None:
    engine.volumes.create("mem", options=options("type=tmpfs", "size=2m", "o=mode=0750,noexec"))
    text = run(engine, "grep ' /etc ' /proc/mounts; cat /etc/passwd | wc -l; stat -c %a /etc",
               volumes=["mem:/etc"])  # fmt: skip

    assert text.startswith("tmpfs /etc tmpfs rw,nodev,noexec,relatime,size=2048k,mode=750")
    assert text.splitlines()[1] != "0"
    assert os.listdir(engine.volumes.data_path("mem")) == []


def test_a_bind_is_the_hosts_directory(engine: Engine, made: list[str], tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    engine.volumes.create("www", options=options(f"type=none,device={tmp_path}/there,o=bind"))
    run(engine, "echo x > /www/x", volumes=["www:/www"])
    assert (tmp_path / "there/x").read_text() == "x\n"
    line = "echo x > /www/y 2>/dev/null || echo closed"
    assert run(engine, line, volumes=["www:/www:ro"]) == "closed\n"
    box = create(engine, made, volumes=["www:/www"])
    engine.copy_to(tmp_path / "there/x", box, "/www/copied")

    assert (tmp_path / "there/copied").read_text() == "x\n"
    (tmp_path / "there").rename(tmp_path / "gone")
    with pytest.raises(UsageError, match="no directory"):
        run(engine, "true", volumes=["www:/www"])


def test_a_server_that_does_not_answer_is_named(engine: Engine) -> None:
    """The kernel's nfs is asked; without it the error says so."""
    engine.volumes.create(
        "nfs", options=options("type=nfs", "device=:/x", "o=addr=localhost,port=1,soft,timeo=1")
    )
    with pytest.raises(NewrootError, match="mount nfs on /data"):
        run(engine, "true", volumes=["nfs:/data"])


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["type=none"], "needs type= and device="),
        (["device=/x"], "needs type= and device="),
        (["o=bind"], "needs type= and device="),
        (["type=none,device=relative,o=bind"], "absolute"),
        (["type=ext4,device=/dev/x,size=3"], "a tmpfs's"),
        (["color=red"], "invalid volume option"),
        (["type"], "invalid volume option"),
    ],
)
def test_options_that_make_no_sense_are_refused(texts: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        options(*texts)


def test_a_mount_may_say_what_its_volume_is(engine: Engine, made: list[str]) -> None:
    spec = "type=volume,src=mem,dst=/m,volume-label=a=b,volume-opt=type=tmpfs,volume-opt=size=1m"
    create(engine, made, mount=spec)
    found = engine.volumes.get("mem")

    assert found.labels == (("a", "b"),)
    assert found.options == (("type", "tmpfs"), ("size", "1m"))
    assert "size=1024k" in run(engine, "grep ' /m ' /proc/mounts", mount=spec)


def test_nocopy_and_subpath(engine: Engine) -> None:
    assert run(engine, "ls /var", mount="type=volume,src=empty,dst=/var,volume-nocopy") == ""
    run(engine, "mkdir -p /v/a/b; echo deep > /v/a/b/c", volumes=["sub:/v"])
    spec = "type=volume,src=sub,dst=/mnt,volume-subpath=a/b"
    assert run(engine, "cat /mnt/c", mount=spec) == "deep\n"
    run(engine, "ln -s /etc /v/out", volumes=["sub:/v"])
    with pytest.raises(UsageError, match="link"):
        run(engine, "true", mount="type=volume,src=sub,dst=/mnt,volume-subpath=out")


# ── export and import ────────────────────────────────────────────────────────────────────────


def test_what_is_exported_is_imported(engine: Engine, tmp_path: Path) -> None:
    line = "cd /v; mkdir -m 750 d; echo x > d/f; ln d/f hard; ln -s d/f link; chown 5:6 d/f"
    run(engine, line, volumes=["old:/v"])
    engine.export_volume("old", tmp_path / "tar")
    engine.volumes.create("new")
    engine.import_volume("new", tmp_path / "tar")
    look = "cd /v; stat -c '%n %a %u:%g %h %F' d d/f hard link; cat d/f"

    assert run(engine, look, volumes=["new:/v"]) == run(engine, look, volumes=["old:/v"])


def test_an_import_leads_nowhere_but_into_the_volume(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "aim").mkdir()
    run(engine, f"ln -s {tmp_path}/aim /v/out", volumes=["data:/v"])
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("out/x"))
    data.seek(0)
    with pytest.raises(UsageError, match="leads nowhere"):
        engine.import_volume("data", data)
    assert os.listdir(tmp_path / "aim") == []
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("../x"))
    data.seek(0)
    with pytest.raises(UnsafeEntry):
        engine.import_volume("data", data)
    with pytest.raises(NotFound):
        engine.import_volume("none", data)
    engine.volumes.create("mem", options=options("type=tmpfs"))
    with pytest.raises(StateError, match="tmpfs"):
        engine.export_volume("mem", tmp_path / "tar")


def test_the_commands(root: Path, engine: Engine, newroot_command: str, tmp_path: Path) -> None:
    def volume(*words: str, **options: object) -> str:
        command = [newroot_command, "--root", str(root), "volume", *words]
        done = subprocess.run(command, capture_output=True, timeout=30, **options)  # type: ignore[call-overload]
        assert done.returncode == 0, done.stderr
        return str(done.stdout.decode())

    volume("create", "--label", "a=b", "old")
    volume("create", "--label", "a=c", "-o", "type=tmpfs", "-o", "o=size=1m,mode=700", "mem")
    volume("create", "new")
    Path(engine.volumes.data_path("old"), "x").write_text("kept")
    assert volume("ls", "-q", "--filter", "label=a") == "mem\nold\n"
    assert volume("ls", "-q", "-f", "label=a=b", "-f", "name=ol") == "old\n"
    assert volume("ls", "-f", "name=mem", "--format", "{{.Name}} {{.Driver}}") == "mem local\n"
    run(engine, "true", volumes=["new:/x"], rm=False, upper="disk")
    assert volume("ls", "-q", "-f", "dangling=false") == "new\n"
    assert volume("ls", "-q", "-f", "dangling=true") == "mem\nold\n"
    (found,) = json.loads(volume("inspect", "mem"))
    assert found["Options"] == {"type": "tmpfs", "o": "size=1m,mode=700"}
    tar = subprocess.run(
        [newroot_command, "--root", str(root), "volume", "export", "old"],
        capture_output=True, timeout=30, check=True,
    ).stdout  # fmt: skip
    volume("import", "new", input=tar)
    assert Path(engine.volumes.data_path("new"), "x").read_text() == "kept"
    volume("export", "-o", str(tmp_path / "tar"), "new")
    assert (tmp_path / "tar").stat().st_size > 0
    assert volume("prune", "-af", "--filter", "label!=a=c") == "Deleted Volumes:\nold\n"
    for container in engine.containers():
        engine.remove_container(container.id)


# ── propagation ──────────────────────────────────────────────────────────────────────────────

#: In a mount namespace of its own, so that nothing of it is mounted on the host: makes a shared
#: mount, starts a container with it, mounts below it, inside and outside, and says what each sees.
_PROPAGATION = """
import os, subprocess, sys
sys.path.insert(0, sys.argv[4])
from newroot.engine import Engine

root, here, option = sys.argv[1:4]
host = f"{here}/host"
for path in (f"{host}/below", f"{host}/late", f"{host}/inside", f"{host}/below/late"):
    os.makedirs(path, exist_ok=True)
def mount(*words):
    subprocess.run(["mount", *words], check=True)
mount("--bind", host, host)
mount("--make-shared", host)
os.makedirs(f"{host}/below", exist_ok=True)
mount("-t", "tmpfs", "below", f"{host}/below")
os.makedirs(f"{host}/below/late")
os.makedirs(f"{host}/late", exist_ok=True)
os.makedirs(f"{host}/inside", exist_ok=True)
with Engine(root) as engine:
    spec = f"type=bind,src={host},dst=/mnt"
    spec += f",bind-propagation={option}" if option else ""
    box = engine.create("busybox", ["sleep", "1000"], privileged=True, mount=spec)
    try:
        engine.start(box)
        def see(path):
            return engine.exec(box, ["sh", "-c", f"test -e {path}"]).returncode == 0
        mount("-t", "tmpfs", "late", f"{host}/late")
        open(f"{host}/late/mark", "w").close()
        mount("-t", "tmpfs", "deep", f"{host}/below/late")
        open(f"{host}/below/late/mark", "w").close()
        engine.exec(box, ["mount", "-t", "tmpfs", "x", "/mnt/inside"], check=True)
        engine.exec(box, ["touch", "/mnt/inside/mark"], check=True)
        print(int(see("/mnt/late/mark")), int(see("/mnt/below/late/mark")),
              int(os.path.exists(f"{host}/inside/mark")))
    finally:
        engine.remove_container(box, force=True)
"""


@pytest.mark.parametrize(
    ("option", "late", "late_below", "outside"),
    [
        ("", 0, 0, 0),  # rprivate, as Docker
        # Of one mount alone: those below it are as all are in there, slaves of the host's.  So
        # runc has it.
        ("private", 0, 1, 0),
        ("rprivate", 0, 0, 0),
        ("slave", 1, 1, 0),
        ("rslave", 1, 1, 0),
        ("shared", 1, 1, 1),
        ("rshared", 1, 1, 1),
    ],
)
def test_a_later_mount_is_seen_as_the_option_says(
    root: Path, tmp_path: Path, option: str, late: int, late_below: int, outside: int
) -> None:
    """On the bind, on a mount below it that was there before, and from the container outwards."""
    package = str(Path(newroot.__file__).parent.parent)
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", _PROPAGATION,
         root, tmp_path, option, package],
        capture_output=True, text=True, timeout=50,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(late), str(late_below), str(outside)]


@pytest.mark.parametrize(
    ("spec", "top", "below"),
    [
        ("{0}:/mnt:ro", "closed", "closed"),
        ("type=bind,src={0},dst=/mnt,ro", "closed", "closed"),
        ("type=bind,src={0},dst=/mnt,ro,bind-recursive=writable", "closed", "open"),
        ("type=bind,src={0},dst=/mnt,ro,bind-recursive=readonly,bind-propagation=rprivate",
         "closed", "closed"),
        ("type=bind,src={0},dst=/mnt,ro,bind-recursive=disabled", "closed", "none"),
        ("type=bind,src={0},dst=/mnt", "open", "open"),
    ],
)  # fmt: skip
def test_read_only_goes_as_deep_as_it_says(
    engine: Engine, tmp_path: Path, spec: str, top: str, below: str
) -> None:
    host = tmp_path / "host"
    (host / "below").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "below", host / "below"], check=True)
    try:
        (host / "below/there").touch()
        words = {"mount" if spec.startswith("type") else "volumes": [spec.format(host)]}
        text = run(
            engine,
            "look() { touch $1/x 2>/dev/null && echo open || echo closed; }; look /mnt;"
            "test -e /mnt/below/there && look /mnt/below || echo none",
            **words,
        )
    finally:
        subprocess.run(["umount", host / "below"], check=True)

    assert text.split() == [top, below]
