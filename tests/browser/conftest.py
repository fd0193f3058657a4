"""``pytest tests/browser --update-pictures`` writes the pictures of the docs anew; look at them."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from newroot.testing.needs import require

PICTURES = Path(__file__).parent.parent.parent / "docs/view"
SCENE = Path(__file__).parent / "scene.py"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-pictures", action="store_true", help="write docs/view anew")


@dataclass
class Scene:
    """What the small host of scene.py shows of itself."""

    output: Path  #: host.html, and NAME.svg of each drawing
    url: str  #: where its live page is
    process: subprocess.Popen[str]

    def start(self, name: str) -> None:
        """Have one more container there."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "started\n"


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A host of a few containers, with process ids and mounts of its own."""
    require("root", "overlay", "busybox", "util-linux")
    output = tmp_path_factory.mktemp("view")
    command = Path(sysconfig.get_path("scripts")) / "newroot"
    alone = "unshare --mount --uts --ipc --pid --cgroup --fork --kill-child --mount-proc".split()
    process = subprocess.Popen(
        [*alone, sys.executable, SCENE, output, command],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield Scene(output=output, url=process.stdout.readline().strip(), process=process)
    finally:
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's chromium, driven by playwright.

    Not for the whole session: playwright keeps an event loop running in this thread, in which
    no test of asyncio could run its own.
    """
    require("chromium")
    import shutil

    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # As root chromium has no sandbox, and in a small /dev/shm no room.
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
        )
        yield browser
        browser.close()


@pytest.fixture
def picture(request: pytest.FixtureRequest) -> Any:
    """Call it with a page and a name: the docs' picture is written where that was asked for."""

    def take(page: Any, name: str, **options: Any) -> bytes:
        data: bytes = page.screenshot(**options)
        if request.config.getoption("--update-pictures", default=False):
            PICTURES.mkdir(exist_ok=True)
            (PICTURES / name).write_bytes(data)
        return data

    return take
