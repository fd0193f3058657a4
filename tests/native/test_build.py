"""How newroot-init is built: from all its files, freestanding, static, and small."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from newroot.testing import needs

pytestmark = needs("gcc", "readelf")


def _load_conftest() -> ModuleType:
    spec = importlib.util.spec_from_file_location("native", Path(__file__).parent / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


native = _load_conftest()


def _segments(program: Path) -> list[str]:
    return subprocess.run(
        ["readelf", "--program-headers", "--wide", program],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()


def test_meson_builds_every_c_file_in_the_directory() -> None:
    listed = [path.name for path in native.listed_sources()]

    assert listed == sorted(path.name for path in native.NATIVE.glob("*.c"))


def test_the_sanitizers_build_takes_the_same_sources(sanitized_init: Path) -> None:
    assert sanitized_init.exists()


def test_it_needs_no_loader_and_no_library(shipped_init: Path) -> None:
    headers = "\n".join(_segments(shipped_init))

    assert "INTERP" not in headers
    assert "DYNAMIC" not in headers


def test_its_stack_is_not_executable(shipped_init: Path) -> None:
    (stack,) = [line for line in _segments(shipped_init) if "GNU_STACK" in line]

    assert stack.split()[6] == "RW"


def test_no_page_is_both_writable_and_executable(shipped_init: Path) -> None:
    loads = [line for line in _segments(shipped_init) if line.split()[:1] == ["LOAD"]]

    assert loads != []
    assert [
        line for line in loads if "W" in line.split("0x")[5] and "E" in line.split("0x")[5]
    ] == []


def test_it_is_under_150_kilobytes(shipped_init: Path) -> None:
    assert shipped_init.stat().st_size < 150_000


@pytest.mark.parametrize("symbol", ["malloc", "printf", "pthread_mutex_lock", "__errno_location"])
def test_nothing_of_a_c_library_is_in_it(shipped_init: Path, symbol: str) -> None:
    names = subprocess.run(["nm", shipped_init], capture_output=True, text=True, check=True).stdout

    assert f" {symbol}\n" not in names
