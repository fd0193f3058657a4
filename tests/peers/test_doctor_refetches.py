"""What a store has lost and a registry still has, the doctor brings back."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from registries.server import Server, serve

from newroot.doctor.check import Patient, examine
from newroot.doctor.table import STORE_CHECKS
from newroot.engine import Engine
from newroot.images.bootstrap import bootstrap_busybox
from newroot.testing.needs import needs

pytestmark = [needs("root", "docker-registry", "busybox"), pytest.mark.timeout(120)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serve(tmp_path / "registry") as server:
        yield server


@pytest.fixture
def pulled(server: Server, tmp_path: Path) -> tuple[Engine, str]:
    """An engine that has pulled an image, and the image's name."""
    name = f"{server.host}/it:1"
    with Engine(tmp_path / "first", run_root=str(tmp_path / "run1")) as first:
        bootstrap_busybox(first.images)
        first.push("busybox", name, tls_verify=False)
    engine = Engine(tmp_path / "root", run_root=str(tmp_path / "run"))
    engine.pull(name, tls_verify=False)
    return engine, name


def states(engine: Engine, **options) -> list[tuple[str, str]]:
    found = examine(Patient(engine, tls_verify=False, **options), STORE_CHECKS)
    return [(finding.check, finding.state) for finding in found if finding.state != "note"]


def blobs(engine: Engine, name: str) -> dict[str, str]:
    manifest = engine.images.manifest(name)
    return {
        "manifest": engine.images.blob_path(engine.images.get(name).digest),
        "config": engine.images.blob_path(manifest.config.digest),
        "layer": engine.images.blob_path(manifest.layers[0].digest),
    }


@pytest.mark.parametrize("which", ["manifest", "config", "layer"])
def test_a_damaged_blob_is_fetched_again(pulled, which: str):
    engine, name = pulled
    path = blobs(engine, name)[which]
    whole = Path(path).read_bytes()
    os.truncate(path, 10)

    assert ("blobs", "mended") in states(engine, repair=True)
    assert whole == Path(path).read_bytes()
    assert [] == states(engine)


def test_a_lost_layer_comes_back_blob_and_tree(pulled):
    engine, name = pulled
    tree = engine.images.get(name).layers[0]
    os.unlink(blobs(engine, name)["layer"])
    shutil.rmtree(tree)

    assert [("blobs", "mended"), ("layers", "mended")] == states(engine, repair=True)
    assert engine.images.get(name).layers
    assert [] == states(engine)


def test_offline_nothing_is_asked_for(pulled, server: Server):
    engine, name = pulled
    os.truncate(blobs(engine, name)["layer"], 10)
    before = server.requests()

    assert [("blobs", "lost")] == states(engine, repair=True, fetch=False)
    assert before == server.requests()
