"""An ordinary user, 1000, with a home of its own: what the installed command does for one.

``scripts/as-user`` makes the user, in a mount namespace; the host's /etc is not touched.
"""

from __future__ import annotations

import os
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from newroot.testing.needs import require

AS_USER = Path(__file__).parents[2] / "scripts" / "as-user"
NEWROOT = os.path.join(sysconfig.get_path("scripts"), "newroot")
RANGE = "user:200000:65536"

Said = subprocess.CompletedProcess[str]
Do = Callable[..., Said]


def as_user(
    home: Path, *words: str, subids: str = RANGE, seconds: float = 60, sees: str = ""
) -> Said:
    """Run a command as the user whose home *home* is, with what /etc/subuid is to say."""
    env = {**os.environ, "AS_USER_HOME": str(home), "SUBIDS": subids, "AS_USER_SEES": sees}
    return subprocess.run(
        [AS_USER, *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=env,
        timeout=seconds,
    )


@pytest.fixture(scope="session", params=[RANGE, ""], ids=["range", "single"])
def subids(request: pytest.FixtureRequest) -> str:
    """What /etc/subuid says: a range of ids, or nothing."""
    return str(request.param)


@pytest.fixture(scope="session")
def user_home(tmp_path_factory: pytest.TempPathFactory, subids: str) -> Iterator[Path]:
    """A home whose store has the image ``busybox``, made by the user itself."""
    require("root", "userns", "overlay-userxattr", "busybox", "uidmap")
    home = tmp_path_factory.mktemp("home")
    done = as_user(home, NEWROOT, "image", "bootstrap", "busybox", subids=subids)
    assert (done.returncode, done.stderr) == (0, "")
    yield home
    as_user(home, "sh", "-c", f"{NEWROOT} rm -f $({NEWROOT} ps -aq)", subids=subids)


@pytest.fixture
def do(user_home: Path, subids: str) -> Do:
    """Run a line of shell as the user, with the command as ``newroot``."""

    def do(script: str, **more: float) -> Said:
        shell = f'set -u; cd; newroot() {{ {NEWROOT} "$@"; }}; {script}'
        return as_user(user_home, "sh", "-c", shell, subids=subids, **more)  # type: ignore[arg-type]

    return do


@pytest.fixture
def says(do: Do) -> Callable[[str], str]:
    """What a line of shell says, that ends well and without a word on stderr."""

    def says(script: str) -> str:
        done = do(f"set -e; {script}")
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return says
