"""A container wrote its upper, and means harm to who commits or exports it."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from newroot.engine import Engine
from newroot.errors import ImageError
from newroot.images.flat import import_tar
from newroot.testing.archives import Archive
from newroot.testing.needs import needs

pytestmark = needs("root")
SECRET = b"a host file that no container may read"


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    (tmp_path / "host/etc").mkdir(parents=True)
    (tmp_path / "host/etc/shadow").write_bytes(SECRET)
    engine = Engine(tmp_path / "root", run_root=str(tmp_path / "run"))
    made = Archive()
    members = [made.directory("etc"), made.file("etc/shadow", b"the image's"), made.directory("d")]
    import_tar(engine.images, io.BytesIO(made.of(*members)), "it")
    engine.storage.prepare()
    os.makedirs(upper(engine))
    lower = list(engine.images.get("it").layers)
    record = {"id": "c" * 64, "lower": lower, "created": 1.0, "source": "it", "command": ["x"]}
    engine.storage.write("c" * 64, "record.json", record)
    return engine


def upper(engine: Engine) -> Path:
    return Path(engine.storage.directory("c" * 64), "upper")


def everything(engine: Engine, tmp_path: Path) -> bytes:
    """Every byte that leaves: the layer, the export, the list."""
    image = engine.commit("c" * 64, "evil")
    engine.export("c" * 64, tmp_path / "out.tar")
    engine.save(["evil"], tmp_path / "image.tar")
    found = (tmp_path / "out.tar").read_bytes() + repr(engine.diff("c" * 64)).encode()
    for layer in image.layers:
        for directory, _, files in os.walk(layer):
            for name in files:
                path = Path(directory, name)
                if not path.is_symlink() and path.is_file():
                    found += path.read_bytes()
    return found


def test_links_to_the_host_stay_links(engine: Engine, tmp_path: Path):
    host = tmp_path / "host"
    (upper(engine) / "etc").symlink_to(host / "etc")
    (upper(engine) / "d").symlink_to(os.path.relpath(host, upper(engine)))
    (upper(engine) / "file").symlink_to(host / "etc/shadow")
    (upper(engine) / "proc").symlink_to("/proc/self/root")

    assert SECRET not in everything(engine, tmp_path), "A HOST FILE GOT INTO THE IMAGE"
    with tarfile.open(tmp_path / "out.tar") as tar:
        assert {True} == {tar.getmember(n).issym() for n in ("etc", "d", "file", "proc")}
        assert "etc/shadow" not in tar.getnames()


def test_a_whiteout_of_its_own_making_is_refused(engine: Engine):
    (upper(engine) / "etc").mkdir()
    (upper(engine) / "etc/.wh.shadow").write_text("")

    with pytest.raises(ImageError, match=r"\.wh\."):
        engine.commit("c" * 64, "evil")
    assert ["it"] == [
        i.reference.rpartition("/")[2].partition(":")[0] for i in engine.images.list()
    ]


def test_a_name_like_the_beginning_of_an_archive_is_a_name(engine: Engine, tmp_path: Path):
    for name in (b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ"):
        (upper(engine) / os.fsdecode(name)).write_text("plain")
        # Of whole seconds, so that the name itself is the archive's beginning.
        os.utime(upper(engine) / os.fsdecode(name), ns=(0, 10**18))
        engine.commit("c" * 64, "evil")
        (upper(engine) / os.fsdecode(name)).unlink()


def test_nothing_is_waited_for(engine: Engine, tmp_path: Path):
    os.mkfifo(upper(engine) / "fifo")
    os.mknod(upper(engine) / "tty", 0o020666, os.makedev(5, 0))

    assert SECRET not in everything(engine, tmp_path)


def test_a_very_deep_tree_is_refused_or_kept_and_nothing_breaks(engine: Engine):
    here = os.open(upper(engine), os.O_RDONLY)
    for _ in range(400):
        os.mkdir("x" * 50, dir_fd=here)
        below = os.open("x" * 50, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    before = engine.images.list()

    with pytest.raises(ImageError):
        engine.commit("c" * 64, "evil")
    assert before == engine.images.list()
    assert [] == [n for n in os.listdir(engine.images.layers) if n.startswith(".new-")]
