"""What a crash or a stray hand may leave of a store: found, mended, or said to be lost."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from newroot.cli.main import main
from newroot.doctor.check import Finding, Patient, examine
from newroot.doctor.table import STORE_CHECKS
from newroot.engine import Engine
from newroot.images.change import Change
from newroot.images.flat import import_tar
from newroot.testing.archives import Archive


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = Engine(tmp_path / "root", run_root=str(tmp_path / "run"))
    archive = Archive()
    members = [
        archive.directory("d"),
        archive.file("d/file", b"content" * 1000),
        archive.symlink("link", "d/file"),
        archive.hard_link("hard", "d/file"),
        archive.file("implied/x", b""),
        archive.file("d/.wh.gone", b""),
    ]
    import_tar(engine.images, io.BytesIO(archive.of(*members)), "it:1")
    return engine


def look(engine: Engine, **options) -> list[Finding]:
    found = examine(Patient(engine, fetch=False, **options), STORE_CHECKS)
    return [finding for finding in found if finding.state != "note"]


def states(engine: Engine, **options) -> list[tuple[str, str]]:
    return [(finding.check, finding.state) for finding in look(engine, **options)]


def layer_blob(engine: Engine) -> str:
    return engine.images.blob_path(engine.images.manifest("it:1").layers[0].digest)


def manifest_blob(engine: Engine) -> str:
    return engine.images.blob_path(engine.images.get("it:1").digest)


def layer(engine: Engine) -> Path:
    return Path(engine.images.get("it:1").layers[0])


def flip(path: str) -> None:
    with open(path, "r+b") as file:
        file.seek(600)
        byte = file.read(1)
        file.seek(600)
        file.write(bytes([byte[0] ^ 1]))


def test_a_store_that_is_whole_has_nothing_to_mend(engine: Engine):
    assert [] == states(engine)
    assert [] == states(engine, quick=True)
    assert [] == states(engine, repair=True)


def test_a_store_that_was_never_made_is_whole(tmp_path: Path):
    assert [] == states(Engine(tmp_path / "nothing", run_root=str(tmp_path / "run")))
    assert not (tmp_path / "nothing").exists()


DAMAGES: dict[str, Callable[[str], object]] = {
    "zero-length": lambda path: os.truncate(path, 0),
    "truncated": lambda path: os.truncate(path, os.stat(path).st_size - 1),
    "gone": os.unlink,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_blob_is_found_quick_or_not_and_lost_without_a_registry(engine, damage):
    DAMAGES[damage](layer_blob(engine))

    assert [("blobs", "bad")] == states(engine)
    assert [("blobs", "bad")] == states(engine, quick=True)
    assert [("blobs", "lost")] == states(engine, repair=True)
    assert "it:1" in look(engine)[0].words
    assert not os.path.exists(layer_blob(engine))  # so that a load brings it again
    assert engine.images.get("it:1").layers  # and what is unpacked still runs


def test_an_altered_blob_is_found_by_reading_it(engine: Engine):
    flip(layer_blob(engine))

    assert [] == states(engine, quick=True)
    assert [("blobs", "bad")] == states(engine)


def test_a_lost_blob_comes_back_with_the_next_load(engine: Engine, tmp_path: Path):
    engine.save(["it:1"], tmp_path / "a.tar")
    flip(layer_blob(engine))
    look(engine, repair=True)
    engine.load(tmp_path / "a.tar")

    assert [] == states(engine)


def test_with_a_manifest_lost_nothing_is_taken_for_an_orphan(engine: Engine, tmp_path: Path):
    engine.save(["it:1"], tmp_path / "a.tar", format="oci-archive")
    os.truncate(manifest_blob(engine), 0)
    blobs = set(os.listdir(f"{engine.images.images}/blobs/sha256"))
    found = states(engine, repair=True)

    assert ("blobs", "lost") in found
    assert ("orphans", "mended") not in found
    assert 1 == len(blobs - set(os.listdir(f"{engine.images.images}/blobs/sha256")))
    engine.load(tmp_path / "a.tar")
    assert [] == states(engine)


def replace_content(path: Path) -> None:
    status = path.stat()
    path.write_bytes(b"CONTENT" * 1000)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


ALTERATIONS: dict[str, Callable[[Path], object]] = {
    "a file of no length": lambda layer: os.truncate(layer / "d/file", 0),
    "other content": lambda layer: replace_content(layer / "d/file"),
    "a missing file": lambda layer: (layer / "implied/x").unlink(),
    "a file too much": lambda layer: (layer / "d/more").write_text(""),
    "another mode": lambda layer: os.chmod(layer / "d/file", 0o4755),
    "another target": lambda layer: ((layer / "link").unlink(), os.symlink("x", layer / "link")),
    "a broken hard link": lambda layer: (
        (layer / "hard").unlink(),
        shutil.copy2(layer / "d/file", layer / "hard"),
    ),
    "an attribute": lambda layer: os.setxattr(layer / "d", "user.x", b"1"),
    "a whiteout gone": lambda layer: (layer / "d/gone").unlink(),
    "all of it gone": lambda layer: shutil.rmtree(layer),
    "a file in its place": lambda layer: (shutil.rmtree(layer), layer.write_text("")),
}


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_an_altered_layer_is_found_and_unpacked_anew(engine: Engine, alteration: str):
    path = layer(engine)
    ALTERATIONS[alteration](path)

    assert [("layers", "bad")] == states(engine)
    assert [("layers", "mended")] == states(engine, repair=True)
    assert [] == states(engine)
    assert b"content" * 1000 == (path / "d/file").read_bytes()


def test_a_layer_is_lost_when_its_blob_is_too(engine: Engine):
    shutil.rmtree(layer(engine))
    os.unlink(layer_blob(engine))

    assert [("blobs", "lost"), ("layers", "lost")] == states(engine, repair=True)


def test_orphans_go_unless_somebody_is_changing_the_store(engine: Engine):
    store = engine.images
    with Change(store) as change:
        change.write_blob(b"{}", "application/json")
        tree = change.new_layer()
        change.publish_layer(tree, f"sha256:{'0' * 64}")
        change._published.clear()  # as if it had been killed here
        assert [("orphans", "bad")] == states(engine, repair=True)

    assert [("orphans", "bad")] == states(engine)
    assert [("orphans", "mended")] == states(engine, repair=True)
    assert [] == states(engine)


def test_what_a_killed_process_was_making_goes(engine: Engine):
    os.mkdir(f"{engine.images.layers}/.new-0123")
    Path(engine.images.images, ".new-4567").write_text("half a blob")

    assert [("leftovers", "bad")] == states(engine)
    assert [("leftovers", "mended")] == states(engine, repair=True)
    assert [] == states(engine)


def test_an_index_that_cannot_be_read_is_made_of_the_manifests_there_are(engine: Engine):
    digest = engine.images.get("it:1").digest
    Path(engine.images.images, "index.json").write_text("")

    assert ("index", "bad") == states(engine)[0]
    assert [("index", "lost")] == states(engine, repair=True)
    assert [digest] == [image.digest for image in engine.images.list()]


def test_a_container_without_a_record_goes_and_one_without_layers_is_told(engine: Engine):
    engine.storage.prepare()
    os.makedirs(f"{engine.root}/containers/{'a' * 64}/upper")
    os.makedirs(f"{engine.root}/containers/{'b' * 64}/upper")
    record = {"id": "b" * 64, "lower": ["/nowhere/at/all"], "created": 1.0, "source": "it:1"}
    engine.storage.write("b" * 64, "record.json", record)

    assert [("containers", "bad"), ("containers", "lost")] == states(engine)
    assert [("containers", "mended"), ("containers", "lost")] == states(engine, repair=True)
    assert ["b" * 64] == engine.storage.ids()


def test_the_command_s_exit_code_tells_scripts(engine: Engine, tmp_path, capsys):
    words = ["--root", str(engine.root), "--run-root", str(tmp_path / "run")]
    words += ["doctor", "--store", "--offline"]
    assert 0 == main(words)
    os.truncate(layer(engine) / "d/file", 0)
    assert 1 == main([*words, "--format", "json"])
    out = capsys.readouterr().out
    told = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert ["layers"] == [finding["Check"] for finding in told if finding["State"] == "bad"]
    assert 0 == main([*words, "--repair"])
    assert 0 == main(words)


def test_the_host_is_asked_too(engine: Engine, tmp_path, capsys):
    assert main(["--root", str(engine.root), "--run-root", str(tmp_path / "run"), "doctor"]) == 0
    out = capsys.readouterr().out

    assert "overlay: " in out
    assert "MB free" in out
