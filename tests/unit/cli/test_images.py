"""``newroot import``, ``load``, ``images``, ``tag``, ``rmi``: Docker's words around the store."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from newroot.cli.images import split_name
from newroot.cli.import_ import name_from_file
from newroot.cli.main import main
from newroot.errors import UsageError
from newroot.images.store import ImageStore

Newroot = Callable[..., tuple[int, str, str]]


@pytest.fixture
def newroot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Newroot:
    def run(*words: str) -> tuple[int, str, str]:
        code = main(["--root", str(tmp_path / "store"), *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def archive(tmp_path: Path) -> str:
    """A root filesystem of one file."""
    path = tmp_path / "My_Root--1.0.tar"
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo("etc/motd")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"hi\n"))
    return str(path)


def test_import_prints_the_digest(newroot: Newroot, archive: str, tmp_path: Path) -> None:
    code, out, err = newroot("import", archive, "web:1")
    image = ImageStore(tmp_path / "store").get("web:1")

    assert (code, out, err) == (0, f"{image.digest}\n", "")


def test_import_without_a_name_says_which_it_took(newroot: Newroot, archive: str) -> None:
    assert newroot("import", archive)[2] == "newroot: the image is called my_root-1.0\n"
    assert newroot("images", "my_root-1.0", "-q")[1]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("alpine-minirootfs-3.20.2-x86_64.tar.gz", "alpine-minirootfs-3.20.2-x86_64"),
        ("/x/Debian Root.tar.zst", "debian-root"),
        ("rootfs.tgz", "rootfs"),
        ("..a..b--c.tar.xz", "a.b-c"),
    ],
)
def test_an_image_is_called_after_its_file(file: str, name: str) -> None:
    assert name_from_file(file) == name


def test_a_file_without_a_letter_gives_no_name() -> None:
    for file in ("-", "___.tar", "é.tar"):
        with pytest.raises(UsageError):
            name_from_file(file)


def test_images_is_docker_s_table(newroot: Newroot, archive: str) -> None:
    assert newroot("images")[1] == "REPOSITORY   TAG   IMAGE ID   CREATED   SIZE\n"
    newroot("import", archive, "web:1")
    heading, row = newroot("image", "ls")[1].splitlines()

    assert heading.split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    assert row.split()[:2] == ["web", "1"]
    assert json.loads(newroot("images", "--format=json")[1])["Repository"] == "web"
    assert newroot("images", "other")[1].count("\n") == 1
    assert newroot("images", "we*", "-q", "--no-trunc")[1].startswith("sha256:")


def test_an_image_with_two_names_is_listed_twice_and_has_one_id(
    newroot: Newroot, archive: str
) -> None:
    newroot("import", archive, "web:1")
    assert newroot("tag", "web:1", "mine") == (0, "", "")

    assert len(newroot("images")[1].splitlines()) == 3
    assert len(newroot("images", "-q")[1].splitlines()) == 1


def test_rmi_goes_on_after_a_name_that_is_not_there(newroot: Newroot, archive: str) -> None:
    newroot("import", archive, "web:1")
    newroot("tag", "web:1", "mine")
    code, out, err = newroot("rmi", "nope", "mine")

    assert (code, out) == (125, "Untagged: mine:latest\n")
    assert err.startswith("newroot: find image 'nope'")
    code, out, _ = newroot("image", "rm", "-f", "nope", "web:1")
    assert code == 0
    assert [line.split(":")[0] for line in out.splitlines()] == ["Untagged", "Deleted"]


def test_bad_archives_are_a_line_and_125_and_leave_the_store_as_it_was(
    newroot: Newroot, tmp_path: Path
) -> None:
    (tmp_path / "bad.tar").write_bytes(b"no tar at all" * 100)
    for words in (["import", f"{tmp_path}/bad.tar", "x1"], ["load", "-i", f"{tmp_path}/bad.tar"]):
        code, out, err = newroot(*words)
        assert (code, out) == (125, "")
        assert err.startswith("newroot: ")
        assert "Traceback" not in err
    assert newroot("images", "-q")[1] == ""


def test_names_are_split_as_docker_shows_them() -> None:
    assert split_name("docker.io/library/busybox:latest") == ("busybox", "latest")
    assert split_name("localhost:5000/a/b:1") == ("localhost:5000/a/b", "1")
    assert split_name("") == ("<none>", "<none>")


@pytest.mark.needs("busybox")
def test_bootstrap_makes_an_image_and_says_its_name(newroot: Newroot) -> None:
    assert newroot("image", "bootstrap", "busybox", "tiny") == (0, "tiny:latest\n", "")
    assert newroot("images", "tiny", "-q")[1]
