"""``newroot volume``: what it prints is what docker's scripts expect."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from newroot.cli.main import main
from newroot.rootfs.volumes import VolumeStore


@pytest.fixture
def volume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> object:
    def run(*words: str) -> tuple[int, str, str]:
        code = main(["--root", str(tmp_path), "volume", *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def store(tmp_path: Path) -> VolumeStore:
    return VolumeStore(str(tmp_path))


def test_create_prints_the_name(volume, store) -> None:  # type: ignore[no-untyped-def]
    assert volume("create", "data") == (0, "data\n", "")
    assert volume("create", "data") == (0, "data\n", "")
    code, name, _ = volume("create", "--label", "a=b", "--label", "c")

    assert code == 0
    assert store.get(name.strip()).inspect()["Labels"] == {"a": "b", "c": ""}


def test_ls_is_docker_s_table(volume) -> None:  # type: ignore[no-untyped-def]
    assert volume("ls") == (0, "DRIVER   VOLUME NAME\n", "")
    volume("create", "bb")
    volume("create", "aa")

    assert volume("ls")[1] == "DRIVER   VOLUME NAME\nlocal    aa\nlocal    bb\n"
    assert volume("list", "-q")[1] == "aa\nbb\n"
    names = [json.loads(line)["Name"] for line in volume("ls", "--format=json")[1].splitlines()]
    assert names == ["aa", "bb"]


def test_inspect_prints_what_it_finds_and_fails_for_the_rest(volume) -> None:  # type: ignore[no-untyped-def]
    volume("create", "data")
    code, out, err = volume("inspect", "nope", "data")

    assert code == 125
    assert [found["Name"] for found in json.loads(out)] == ["data"]
    assert err.startswith("newroot: no volume nope\n")
    assert len(volume("inspect", "-f", "json", "data")[1].splitlines()) == 1


def test_rm_says_what_it_removed_and_stops_at_one_in_use(volume, store) -> None:  # type: ignore[no-untyped-def]
    volume("create", "aa")
    fd = store.hold("bb")
    code, out, err = volume("rm", "aa", "bb")
    os.close(fd)

    assert (code, out) == (125, "aa\n")
    assert err.startswith("newroot: volume bb is in use\n")
    assert volume("rm", "-f", "gone", "bb") == (0, "gone\nbb\n", "")


def test_prune_asks_first(volume, store, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    name = store.create().name
    store.create("named")
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert volume("prune")[1] == ""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))

    assert volume("prune")[1] == f"Deleted Volumes:\n{name}\n"
    assert volume("prune", "-f") == (0, "", "")
    assert volume("prune", "-af")[1] == "Deleted Volumes:\nnamed\n"
