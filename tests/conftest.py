"""What all tests share: the plugin that obeys needs(), and hypothesis' settings."""

from __future__ import annotations

import os
import runpy
from pathlib import Path

import pytest

# What a test does not say it does not get: a bridge would be the host's.
os.environ.setdefault("NEWROOT_NETWORK", "none")
HERE = Path(__file__).parent

pytest_plugins = ["newroot.testing.plugin"]

# Importing hypothesis takes the virtual machine seconds, and it has none: tests/vm/README.md.
if not os.environ.get("NEWROOT_VM"):
    from hypothesis import settings

    # No deadline: the machines that run this are shared.  In CI the same examples each time, so
    # that what is red there is red here.
    settings.register_profile("here", deadline=None)
    settings.register_profile("ci", deadline=None, derandomize=True)
    settings.load_profile("ci" if os.environ.get("CI") else "here")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """``scripts/test --as-user`` leaves out what tests/rootless/not_for_users.py names."""
    if not os.environ.get("NEWROOT_AS_USER"):
        return
    rows: dict[str, str] = runpy.run_path(str(HERE / "rootless" / "not_for_users.py"))["ROWS"]
    names = [item.nodeid.removeprefix("tests/") for item in items]
    files = {name.partition("::")[0] for name in names}
    for row in rows:
        if row.partition("::")[0] in files and not any(name.startswith(row) for name in names):
            raise pytest.UsageError(f"tests/rootless/not_for_users.py: no test is called {row}")
    left_out = [i for i, n in zip(items, names, strict=True) if n.startswith(tuple(rows))]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
