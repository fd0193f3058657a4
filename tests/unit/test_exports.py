"""What ``import newroot`` gives: the public names, each loaded when it is first used."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import newroot

PARENT = str(Path(newroot.__file__).parent.parent)
ROOMS_WITH_A_DOOR = ["newroot", "newroot.observe", "newroot.testing"]


def _run_isolated(program: str) -> str:
    program = f"import sys; sys.path.append({PARENT!r})\n{program}"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True
    )
    assert done.stderr == ""
    return done.stdout


def test_import_newroot_loads_no_other_module_of_ours_or_pythons() -> None:
    program = "before = set(sys.modules)\nimport newroot\nprint(*sorted(set(sys.modules) - before))"
    loaded = _run_isolated(program).split()

    # __future__ comes with the annotations of the file itself.
    assert [name for name in loaded if name not in ("newroot", "__future__")] == []


@pytest.mark.parametrize("room", ROOMS_WITH_A_DOOR)
def test_every_public_name_is_there(room: str) -> None:
    module = importlib.import_module(room)
    names = getattr(module, "__all__", ())
    missing = [name for name in names if not hasattr(module, name)]

    assert missing == []
    assert len(set(names)) == len(names)


def test_dir_lists_every_public_name() -> None:
    assert set(getattr(newroot, "__all__", ())) - set(dir(newroot)) == set()


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        newroot.no_such_name  # noqa: B018


def test_every_public_thing_has_a_docstring() -> None:
    undocumented = [
        name
        for name in getattr(newroot, "__all__", ())
        if (isinstance(getattr(newroot, name), type) or callable(getattr(newroot, name)))
        and not getattr(newroot, name).__doc__
    ]

    assert undocumented == []


def test_the_version_is_the_one_in_meson_s_hands() -> None:
    from importlib.metadata import PackageNotFoundError, version

    from newroot.version import VERSION

    try:
        installed = version("newroot")
    except PackageNotFoundError:
        installed = VERSION  # run from the source tree: there is only one place

    assert installed == VERSION
