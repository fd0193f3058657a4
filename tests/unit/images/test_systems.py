"""Images of packages: by the real tools, from repositories that the test makes."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from newroot.errors import ImageError, UnsupportedError, UsageError
from newroot.images.store import Image, ImageStore
from newroot.images.systems import bootstrap_system
from newroot.testing.needs import needs

EPOCH = 1_000_000_000


@pytest.fixture(autouse=True)
def epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(EPOCH))


def run(*command: object, **options) -> str:
    done = subprocess.run([str(w) for w in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}: {done.stdout} {done.stderr}"
    return done.stdout


def test_an_unknown_system_and_a_missing_tool_are_named(store: ImageStore, monkeypatch):
    with pytest.raises(UsageError) as caught:
        bootstrap_system(store, "plan9")
    assert "debian" in str(caught.value.hint)

    monkeypatch.setenv("PATH", "/nonexistent")
    for system, tool in (("debian", "mmdebstrap"), ("rocky", "dnf"), ("alpine", "apk")):
        with pytest.raises(UnsupportedError, match=tool) as missing:
            bootstrap_system(store, system)
        assert "apt-get install" in str(missing.value.hint)
    assert [] == os.listdir(store.root)


def test_an_unsigned_mirror_over_plain_http_is_refused(store: ImageStore, monkeypatch, tmp_path):
    (tmp_path / "dnf").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "dnf").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(UsageError, match="genuine"):
        bootstrap_system(store, "fedora", mirror="http://example.org/")


def test_what_a_tool_says_is_in_the_error_and_nothing_is_left(store, monkeypatch, tmp_path):
    (tmp_path / "mmdebstrap").write_text("#!/bin/sh\necho E: no such suite\nexit 25\n")
    (tmp_path / "mmdebstrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")

    with pytest.raises(ImageError, match="code 25: E: no such suite"):
        bootstrap_system(store, "debian:nonesuch")
    assert [] == os.listdir(store.root)


@needs("root")
def test_a_minirootfs_becomes_an_image(store: ImageStore, archive, tmp_path: Path):
    root = archive.of(archive.directory("etc"), archive.file("etc/alpine-release", b"3.22.0\n"))
    (tmp_path / "mini.tar.gz").write_bytes(gzip.compress(root, mtime=0))
    image = bootstrap_system(store, "alpine:3.22", mirror=str(tmp_path / "mini.tar.gz"))

    assert "docker.io/library/alpine:3.22" == image.reference
    assert "3.22.0\n" == Path(image.layers[0], "etc/alpine-release").read_text()
    assert image.digest == again(tmp_path, "alpine:3.22", mirror=str(tmp_path / "mini.tar.gz"))


def again(directory: Path, system: str, **options) -> str:
    """The digest that another store gets."""
    return bootstrap_system(ImageStore(directory / "other"), system, **options).digest


# ── deb ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def debs(tmp_path: Path) -> str:
    """A repository of one package without any dependencies; mmdebstrap's word for it."""
    package, repository = tmp_path / "tiny", tmp_path / "debs"
    (package / "DEBIAN").mkdir(parents=True)
    (package / "usr/share/tiny").mkdir(parents=True)
    (package / "usr/share/tiny/file").write_text("from a package\n")
    control = (
        "Package: tiny\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\n"
        "Description: as small as can be\n"
    )
    (package / "DEBIAN/control").write_text(control)
    repository.mkdir()
    run("dpkg-deb", "--root-owner-group", "--build", package, repository / "tiny_1_all.deb")
    data = (repository / "tiny_1_all.deb").read_bytes()
    fields = f"Filename: ./tiny_1_all.deb\nSize: {len(data)}\n"
    fields += f"SHA256: {hashlib.sha256(data).hexdigest()}\n"
    (repository / "Packages").write_text(control + fields)
    for path in (tmp_path, repository, *repository.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return f"deb [trusted=yes] copy://{repository} ./"


@needs("root", "mmdebstrap", "dpkg-deb")
def test_debian_packages_become_an_image(store: ImageStore, debs: str, tmp_path: Path):
    options = {"mirror": debs, "packages": ["tiny"], "variant": "extract"}
    image = bootstrap_system(store, "debian:tiny", "mine:1", **options)

    assert "from a package\n" == Path(image.layers[0], "usr/share/tiny/file").read_text()
    assert ["bash"] == image.config["config"]["Cmd"]
    assert "2001-09-09T01:46:40Z" == image.created
    check_times(image)
    assert image.digest == again(tmp_path, "debian:tiny", name="mine:1", **options)


def check_times(image: Image) -> None:
    for directory, names, files in os.walk(image.layers[0]):
        for name in (*names, *files):
            path = os.path.join(directory, name)
            assert os.lstat(path).st_mtime <= EPOCH, path


# ── rpm ──────────────────────────────────────────────────────────────────────────────────────

SPEC = """\
Name: tiny
Version: 1
Release: 1
Summary: as small as can be
License: MIT
BuildArch: noarch
%description
As small as can be.
%install
mkdir -p %{buildroot}/usr/share/tiny
echo from a package > %{buildroot}/usr/share/tiny/file
%files
%attr(4711,root,root) /usr/share/tiny/file
"""


@needs("root", "dnf", "rpmbuild", "createrepo_c")
@pytest.mark.parametrize("system", ["fedora", "centos", "rocky"])
def test_rpm_packages_become_an_image(store: ImageStore, tmp_path: Path, system: str):
    (tmp_path / "tiny.spec").write_text(SPEC)
    run("rpmbuild", "-bb", "--define", f"_topdir {tmp_path}/rpm", tmp_path / "tiny.spec")
    run("createrepo_c", tmp_path / "rpm/RPMS")
    image = bootstrap_system(
        store, f"{system}:1", mirror=f"file://{tmp_path}/rpm/RPMS", packages=["tiny"]
    )

    file = Path(image.layers[0], "usr/share/tiny/file")
    assert ("from a package\n", 0o104711) == (file.read_text(), file.stat().st_mode)
    assert f"docker.io/library/{system}:1" == image.reference
    assert not os.path.exists(f"{image.layers[0]}/var/cache/dnf")
    check_times(image)


def test_the_layer_s_blob_is_a_tar_in_order(store: ImageStore, archive, tmp_path: Path):
    (tmp_path / "mini.tar").write_bytes(archive.of(archive.file("b"), archive.file("a")))
    image = bootstrap_system(store, "alpine", mirror=str(tmp_path / "mini.tar"))
    blob = store.blob_path(store.manifest(image.reference).layers[0].digest)
    with tarfile.open(blob) as tar:
        assert ["a", "b"] == tar.getnames()
