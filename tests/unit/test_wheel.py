"""The wheel: built from this tree, installed in a virtual environment of its own, and started."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from newroot.testing import needs
from newroot.version import VERSION

ROOT = Path(__file__).parent.parent.parent
pytestmark = [needs("gcc", "git", "file"), pytest.mark.slow]

#: In src/newroot but not in the wheel: what newroot-init and the commands are made from.
SOURCES = (".c", ".h", ".build")


def _run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # meson and ninja live there
    return subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    done = _run(
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"),
        *("--wheel-dir", directory, ROOT),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("somebody's place") / "venv"  # a quote and a space
    assert _run(sys.executable, "-m", "venv", "--without-pip", directory).returncode == 0
    done = _run(
        *(sys.executable, "-m", "pip", "--python", directory / "bin/python", "install"),
        *("--quiet", "--no-index", "--no-deps", wheel),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


def _tracked() -> set[str]:
    listed = _run("git", "ls-files", "src/newroot").stdout.split()
    assert listed != [], "git does not answer: run the tests in a clone"
    return {
        name.removeprefix("src/")
        for name in listed
        if not name.endswith(SOURCES) and (ROOT / name).exists()
    }


def test_wheel_holds_every_tracked_file_of_the_package(wheel: Path) -> None:
    purelib = f"newroot-{VERSION}.data/purelib/"
    packed = {name.removeprefix(purelib) for name in zipfile.ZipFile(wheel).namelist()}

    assert _tracked() - packed == set()
    assert "newroot/native/newroot-init" in packed


def test_wheel_holds_nothing_that_only_the_build_needs(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    assert [
        name for name in names if name.endswith((*SOURCES, ".pyc")) or "__pycache__" in name
    ] == []


def test_wheel_is_for_every_python_3(wheel: Path) -> None:
    assert wheel.name.startswith(f"newroot-{VERSION}-py3-none-linux_")


def test_newroot_init_is_installed_executable_and_static(environment: Path) -> None:
    (init,) = environment.glob("lib/python3*/site-packages/newroot/native/newroot-init")
    listed = _run("file", init)

    assert os.access(init, os.X_OK)
    assert init.stat().st_size < 150_000
    assert "statically linked" in listed.stdout


@pytest.mark.parametrize("command", ["newroot", "newroot-oci"])
def test_command_says_its_version(environment: Path, command: str) -> None:
    done = _run(environment / "bin" / command, "--version")

    assert done.stderr == ""
    assert done.returncode == 0
    assert VERSION in done.stdout


def test_command_works_through_a_link_elsewhere(environment: Path, tmp_path: Path) -> None:
    link = tmp_path / "runc"
    link.symlink_to(environment / "bin/newroot-oci")
    done = _run(link, "--version")

    assert (done.returncode, done.stderr) == (0, "")


def test_command_does_not_listen_to_pythonpath(environment: Path, tmp_path: Path) -> None:
    for name in ("os.py", "struct.py", "fcntl.py", "sitecustomize.py", "newroot.py"):
        (tmp_path / name).write_text("raise SystemExit('taken over')\n")
    place = str(tmp_path)
    done = _run(
        environment / "bin/newroot",
        "--version",
        PYTHONPATH=place,
        PYTHONHOME=place,
        PYTHONSTARTUP=place,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_copied_command_says_what_is_wrong(environment: Path, tmp_path: Path) -> None:
    copy = tmp_path / "newroot"
    copy.write_bytes((environment / "bin/newroot").read_bytes())
    copy.chmod(0o755)
    done = _run(copy, "--version")

    assert done.returncode == 125
    assert done.stderr.startswith("newroot: cannot find Python and the newroot package beside ")
    assert "hint: " in done.stderr


def test_manual_pages_and_completions_are_installed(environment: Path) -> None:
    share = environment / "share"

    assert "newroot run" in (share / "man/man1/newroot-run.1").read_text()
    assert (share / "man/man1/newroot.1").exists()
    assert "complete -F" in (share / "bash-completion/completions/newroot").read_text()
    assert (share / "zsh/site-functions/_newroot").read_text().startswith("#compdef newroot")
    assert (share / "fish/vendor_completions.d/newroot.fish").exists()
