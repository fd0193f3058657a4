"""What a container can do with device nodes: those it was given, and those it makes itself.

docs/decisions/0012-nodev-in-place-of-a-device-cgroup.md
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from newroot.engine import Engine
from newroot.images.bootstrap import bootstrap_busybox
from newroot.testing import needs

pytestmark = needs("root")

#: Makes a node of its own for 1:5 (/dev/zero) at each place, and reads a byte from it.
_TRY = 'for d in "$@"; do mknod $d/mine c 1 5 && echo $d $(head -c1 $d/mine | wc -c); done'
_DEAD = "0"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(tmp_path_factory.mktemp("root")) as made:
        bootstrap_busybox(made.images)
        yield made


def _say(engine: Engine, script: str, *args: str, **words: object) -> list[str]:
    result = engine.run(
        "busybox", ["sh", "-c", script, "sh", *args], capture_output=True, text=True, **words
    )
    return str(result.stdout).splitlines()


def test_the_six_devices_that_every_container_has_work(engine: Engine) -> None:
    script = (
        "echo x > /dev/null && head -c2 /dev/zero | wc -c; (echo x > /dev/full) 2>/dev/null || "
        "echo full; head -c2 /dev/random | wc -c; head -c2 /dev/urandom | wc -c; ls /dev/tty"
    )

    assert _say(engine, script) == ["2", "full", "2", "2", "/dev/tty"]


def test_a_node_made_inside_does_not_open_wherever_it_is_made(
    engine: Engine, tmp_path: Path
) -> None:
    places = ("/root", "/dev", "/dev/shm", "/bound", "/named", "/mem", "/below/dir")
    (tmp_path / "host").mkdir()
    mounts = [
        f"type=bind,src={tmp_path}/host,dst=/bound",
        "type=volume,src=named,dst=/named",
        "type=tmpfs,dst=/mem",
        f"type=bind,src={tmp_path},dst=/below",
    ]
    (tmp_path / "dir").mkdir()

    said = _say(engine, _TRY, *places, mounts=mounts)

    assert said == [f"{place} {_DEAD}" for place in places], "A CONTAINER CAN OPEN ANY DEVICE"


def test_a_node_in_a_mount_below_a_bind_does_not_open(engine: Engine, tmp_path: Path) -> None:
    """The probe itself runs where a tmpfs is mounted below the bind's source."""
    inner = tmp_path / "inner"
    inner.mkdir()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(0)
            import ctypes

            libc = ctypes.CDLL(None)
            libc.unshare(0x20000)
            libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None)
            libc.mount(b"tmpfs", str(inner).encode(), b"tmpfs", 0, None)
            with Engine(engine.root) as own:
                said = _say(own, _TRY, "/b/inner", volumes={str(tmp_path): "/b"})
            code = 0 if said == [f"/b/inner {_DEAD}"] else 2
        finally:
            os._exit(code)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_device_that_was_asked_for_opens(engine: Engine) -> None:
    assert _say(engine, "head -c1 /dev/z | wc -c", device="/dev/zero:/dev/z") == ["1"]


def test_less_than_all_of_a_device_is_less(engine: Engine) -> None:
    script = "(: < /dev/f) && echo read; (: > /dev/f) 2>/dev/null || echo refused"

    assert _say(engine, script, device="/dev/fuse:/dev/f:r") == ["read", "refused"]


def test_a_privileged_container_can_make_nodes_that_work(engine: Engine) -> None:
    """It shows that the test above can fail."""
    assert _say(engine, _TRY, "/root", privileged=True) == ["/root 1"]
