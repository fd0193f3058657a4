"""A pytest plugin: obey ``needs()``, and give tests the fixtures that every suite here wants.

Load it with ``pytest_plugins = ["newroot.testing.plugin"]`` in a ``conftest.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from newroot.testing.host import host_state
from newroot.testing.needs import require
from newroot.testing.roots import tiny_root as make_tiny_root

#: A need that also sorts the test: ``-m "not peers"`` leaves them out.
_SORTED = {
    **dict.fromkeys(["runc", "crun", "bwrap", "podman", "docker", "skopeo", "umoci"], "peers"),
    "root": "root",
    "vm": "vm",
}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*features): probed by use; NEWROOT_MUST_WORK")


def pytest_itemcollected(item: pytest.Item) -> None:
    for feature in _needed(item):
        if feature in _SORTED:
            item.add_marker(_SORTED[feature])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    require(*_needed(item))


def _needed(item: pytest.Item) -> list[str]:
    marks = reversed(list(item.iter_markers("needs")))  # the file's first, then the test's own
    return [feature for mark in marks for feature in mark.args]


@pytest.fixture
def tiny_root(tmp_path: Path) -> Path:
    """A root filesystem with busybox, for this test alone."""
    require("busybox")
    return Path(make_tiny_root(tmp_path / "tiny-root"))


@pytest.fixture
def leaves_nothing() -> Iterator[Callable[..., None]]:
    """Fail when the test leaves a mount, process, descriptor or cgroup behind.

    Call it with directories to hold their files to account too: from then on they are watched.
    """
    watched: list[str] = []
    before = host_state()

    def watch(*directories: str) -> None:
        nonlocal before
        watched.extend(directories)
        before = host_state(*watched)

    yield watch
    left = before.changes(host_state(*watched))

    assert left == []
