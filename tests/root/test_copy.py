"""``cp``: files into containers and out of them, running or not, by file and by tar."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from newroot.engine import Engine
from newroot.errors import NotFound, StateError, SyscallError, UsageError
from newroot.testing import needs

pytestmark = [needs("root", "overlay", "busybox"), pytest.mark.timeout(60)]


@pytest.fixture(params=["created", "running", "exited"])
def box(request: pytest.FixtureRequest, engine: Engine, tmp_path: Path) -> Iterator[str]:
    """A container in each of its states, with a volume, and a directory of the host, in it."""
    (tmp_path / "bound").mkdir()
    made = engine.create(
        "busybox",
        ["sleep", "1000"],
        name="box",
        volumes=["data:/data", f"{tmp_path}/bound:/bound", f"{tmp_path}/bound:/closed:ro"],
    )
    if request.param != "created":
        engine.start(made)
    if request.param == "exited":
        engine.stop(made, timeout=0)
    yield "box"
    engine.remove_container(made, force=True)


def shown(engine: Engine, path: str) -> str:
    """What the container itself sees."""
    engine.start("box")
    done = engine.exec("box", ["sh", "-c", f"cat {path}"])
    assert isinstance(done.stdout, bytes)
    return done.stdout.decode()


def tar_of(engine: Engine, path: str, **words: bool) -> dict[str, tarfile.TarInfo]:
    reader, writer = os.pipe()
    with open(reader, "rb") as ours:
        with open(writer, "wb") as theirs:
            done = threading.Thread(
                target=lambda: (engine.copy_from("box", path, theirs, **words), theirs.close())
            )
            done.start()
            data = ours.read()
            done.join()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {os.path.normpath(member.name): member for member in tar}


def test_a_file_goes_in_and_comes_out(engine: Engine, box: str, tmp_path: Path) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(os.urandom(3_000_000))
    laid = engine.copy_to(source, box, "/etc/")
    engine.copy_from(box, "/etc/source", back)

    assert laid.size == 3_000_000
    assert back.read_bytes() == source.read_bytes()


def test_the_container_sees_it_and_its_volumes_do(engine: Engine, box: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("it came\n")
    for path in ("/root/", "/data/here", "/bound/here"):
        engine.copy_to(source, box, path)

    assert (tmp_path / "bound/here").read_text() == "it came\n"
    assert Path(engine.volumes.data_path("data"), "here").read_text() == "it came\n"
    assert shown(engine, "/root/source /data/here /bound/here") == "it came\n" * 3


def test_nothing_of_it_is_run_or_left(engine: Engine, box: str, tmp_path: Path) -> None:
    before, mounts = engine.container(box), Path("/proc/self/mountinfo").read_text()
    engine.copy_from(box, "/etc/passwd", tmp_path / "passwd")

    after = engine.container(box)
    assert (after.status, after.pid, after.finished) == (before.status, before.pid, before.finished)
    assert Path("/proc/self/mountinfo").read_text() == mounts


def test_what_is_read_only_stays_so(engine: Engine, box: str, tmp_path: Path) -> None:
    (tmp_path / "source").write_text("x")
    with pytest.raises(SyscallError, match="EROFS"):
        engine.copy_to(tmp_path / "source", box, "/closed/here")

    assert os.listdir(tmp_path / "bound") == []


def test_links_lead_where_they_would_in_the_container(
    engine: Engine, box: str, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "canary").write_text("host\n")
    links = tmp_path / "links"
    links.mkdir()
    (links / "absolute").symlink_to(outside)
    (links / "climbing").symlink_to("../" * 20 + str(outside)[1:])
    (links / "magic").symlink_to(f"/proc/{os.getpid()}/root{outside}")
    engine.copy_to(f"{links}/.", box, "/")
    (tmp_path / "source").write_text("x")

    for name in ("absolute", "climbing", "magic"):
        with pytest.raises(NotFound):
            engine.copy_to(tmp_path / "source", box, f"/{name}/canary")
        with pytest.raises(NotFound):
            engine.copy_from(box, f"/{name}/canary", tmp_path / "stolen")
    assert (outside / "canary").read_text() == "host\n"
    assert not (tmp_path / "stolen").exists()


def test_owners_are_the_new_places_unless_archived(
    engine: Engine, box: str, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_text("x")
    os.chown(source, 1234, 1235)
    source.chmod(0o4750)
    engine.copy_to(source, box, "/plain")
    engine.copy_to(source, box, "/whole", archive=True)
    engine.copy_from(box, "/whole", tmp_path / "out")
    engine.copy_from(box, "/whole", tmp_path / "whole", archive=True)

    plain, whole = tar_of(engine, "/plain")["plain"], tar_of(engine, "/whole")["whole"]
    assert (plain.uid, plain.gid, plain.mode) == (0, 0, 0o750)
    assert (whole.uid, whole.gid, whole.mode) == (1234, 1235, 0o4750)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o750
    there = (tmp_path / "whole").stat()
    assert (there.st_uid, there.st_gid, stat.S_IMODE(there.st_mode)) == (1234, 1235, 0o4750)


def test_a_device_comes_along_only_when_archived(engine: Engine, box: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    os.mknod(source / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    (source / "file").write_text("x")
    laid = engine.copy_to(source, box, "/plain")
    engine.copy_to(source, box, "/whole", archive=True)

    assert laid.left_out == ("plain/null",)
    assert set(tar_of(engine, "/plain")) == {"plain", "plain/file"}
    assert tar_of(engine, "/whole")["whole/null"].ischr()


def test_a_tree_keeps_its_form(engine: Engine, box: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "one").write_text("1")
    os.link(source / "one", source / "sub/same")
    (source / "link").symlink_to("one")
    with (source / "holes").open("wb") as file:
        file.truncate(50_000_000)
        file.write(b"begin")
    os.setxattr(source / "one", "user.note", b"kept")
    (source / "sub").chmod(0o555)
    os.utime(source / "sub", (1, 1))
    engine.copy_to(source, box, "/tree")
    engine.copy_from(box, "/tree", tmp_path / "back")

    back = tmp_path / "back"
    assert (back / "one").stat().st_ino == (back / "sub/same").stat().st_ino
    assert os.readlink(back / "link") == "one"
    assert (back / "holes").read_bytes() == (source / "holes").read_bytes()
    assert (back / "holes").stat().st_blocks < 1000
    assert os.getxattr(back / "one", "user.note") == b"kept"
    assert (back / "sub").stat().st_mtime == 1
    assert stat.S_IMODE((back / "sub").stat().st_mode) == 0o555


@pytest.mark.parametrize("compressed", ["", "z"])
def test_a_tar_goes_in_and_one_comes_out(
    engine: Engine, box: str, tmp_path: Path, compressed: str
) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/file").write_text("x")
    archive = tmp_path / "archive"
    subprocess.run(["tar", f"-c{compressed}f", archive, "-C", tmp_path, "d"], check=True)
    with archive.open("rb") as file:
        engine.copy_to(file, box, "/root")
    with archive.open("rb") as file, pytest.raises(UsageError, match="no directory"):
        engine.copy_to(file, box, "/etc/passwd")

    assert set(tar_of(engine, "/root/d")) == {"d", "d/file"}
    assert set(tar_of(engine, "/root/d/.")) == {".", "file"}


def test_a_tar_that_climbs_is_refused(engine: Engine, box: str, tmp_path: Path) -> None:
    for name, kind, link in (
        ("../out", tarfile.REGTYPE, ""),
        ("a/../../out", tarfile.REGTYPE, ""),
        ("out", tarfile.LNKTYPE, "../../etc/passwd"),
    ):
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            tar.addfile(info)
        data.seek(0)
        with pytest.raises(Exception, match="climbs"):
            engine.copy_to(data, box, "/root")


def test_the_kernels_files_are_not_the_containers(engine: Engine, tmp_path: Path) -> None:
    box = engine.create("busybox", ["sleep", "1000"], name="box")
    try:
        engine.start(box)
        with pytest.raises(UsageError, match="kernel"):
            engine.copy_from(box, "/proc/1/environ", tmp_path / "environ")
        with pytest.raises(UsageError, match="kernel"):
            engine.copy_to("/etc/passwd", box, "/proc/sys/kernel/core_pattern")
        members = tar_of(engine, "/.")
        assert "proc" in members
        assert not any(name.startswith(("proc/", "sys/")) for name in members)
    finally:
        engine.remove_container(box, force=True)


def test_from_one_container_to_another(engine: Engine, box: str) -> None:
    other = engine.create("busybox", ["true"], name="other")
    try:
        engine.copy_between(box, "/etc/.", "other", "/copied")
        engine.copy_between("other", "/copied", "other", "/again")
        engine.copy_between("other", "/again/passwd", box, "/root")

        assert tar_of(engine, "/root/passwd")["passwd"].size > 0
    finally:
        engine.remove_container(other)


def test_what_is_kept_in_memory_is_out_of_reach(engine: Engine, tmp_path: Path) -> None:
    made = engine.create("busybox", ["true"], name="box", upper="memory")
    try:
        with pytest.raises(StateError, match="went with it"):
            engine.copy_from("box", "/etc/passwd", tmp_path / "x")
    finally:
        engine.remove_container(made)


def test_a_user_namespaces_owners_are_the_containers(engine: Engine, tmp_path: Path) -> None:
    made = engine.create("busybox", ["sleep", "1000"], name="box", userns="private")
    try:
        source = tmp_path / "source"
        source.write_text("x")
        os.chown(source, 1234, 1235)
        for stopped in (False, True):
            if stopped:
                engine.stop(made, timeout=0)
            else:
                engine.start(made)
            engine.copy_to(source, "box", "/plain")
            engine.copy_to(source, "box", "/whole", archive=True)
            plain, whole = tar_of(engine, "/plain")["plain"], tar_of(engine, "/whole")["whole"]

            assert (plain.uid, plain.gid) == (0, 0)
            assert (whole.uid, whole.gid) == (1234, 1235)
    finally:
        engine.remove_container(made, force=True)


def test_a_start_waits_for_who_looks(engine: Engine, tmp_path: Path) -> None:
    made = engine.create("busybox", ["sleep", "1000"], name="box")
    try:
        reader, writer = os.pipe()
        with open(reader, "rb") as ours, open(writer, "wb") as theirs:
            copying = threading.Thread(
                target=lambda: (engine.copy_from("box", "/.", theirs), theirs.close())
            )
            copying.start()
            assert ours.read(1)  # the pipe is full soon, and so it goes on looking
            assert engine.container("box").status == "created"
            with Engine(engine.root) as other:
                starting = threading.Thread(target=lambda: other.start("box"))
                starting.start()
                starting.join(0.3)
                assert starting.is_alive()
                assert engine.container("box").status == "created"
                ours.read()
                copying.join()
                starting.join()
        assert engine.container("box").status == "running"
    finally:
        engine.remove_container(made, force=True)


def test_the_command_copies_both_ways(
    engine: Engine, box: str, root: Path, tmp_path: Path, newroot_command: str
) -> None:
    def cp(*words: str, **options: object) -> subprocess.CompletedProcess[bytes]:
        command = [newroot_command, "--root", str(root), "cp", *words]
        return subprocess.run(command, capture_output=True, cwd=tmp_path, timeout=30, **options)  # type: ignore[call-overload, no-any-return]

    (tmp_path / "file").write_text("typed")
    assert cp("file", "box:/root").returncode == 0
    assert cp("box:/root/file", "./back").returncode == 0
    assert (tmp_path / "back").read_text() == "typed"
    archive = cp("box:root/file", "-").stdout
    assert cp("-", "box:/etc", input=archive).returncode == 0
    assert cp("box:/etc/file", "again").returncode == 0
    assert (tmp_path / "again").read_text() == "typed"
    failed = cp("box:/nowhere", ".")
    assert (failed.returncode, failed.stdout) == (125, b"")
    assert failed.stderr == b"newroot: copy /nowhere: no such file or directory\n"
    assert cp("file", "back").returncode == 125
