"""What is mounted below a directory comes along with it, and is held to the same.

Found in review: a root directory's own mounts came without ``nodev``, and a node that the
container made on one opened the host's device.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

from newroot.testing import needs

pytestmark = needs("root")

#: In a mount namespace of its own, so that nothing is mounted on the host.
_PROGRAM = """
import sys
from newroot.engine import Engine
state, image, target, source = sys.argv[1:]
with Engine(state) as engine:
    words = {{}} if source == "" else {{"volumes": {{source: target + ":ro"}}}}
    script = {script!r}
    result = engine.run(
        rootfs=image, command=["/bin/sh", "-c", script], capture_output=True, text=True, **words
    )
    print(result.stdout, end="")
"""


def _run(tmp_path: Path, image: Path, script: str, mounted: Path, target: str, source: str) -> str:
    mounted.mkdir(parents=True)
    program = textwrap.dedent(_PROGRAM).format(script=script)
    done = subprocess.run(
        [
            *("unshare", "-m", "--propagation", "private", "sh", "-ec"),
            'mount -t tmpfs none "$1"; shift; exec "$@"',
            *("sh", mounted, sys.executable, "-c", program),
            *(tmp_path / "engine", image, target, source),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_node_works_on_what_is_mounted_in_a_root_directory(tmp_path: Path, image: Path) -> None:
    script = "mknod /sub/z c 1 5; head -c1 /sub/z 2>/dev/null | wc -c"

    said = _run(tmp_path, image, script, image / "sub", "", "")

    assert said.strip() == "0", "A NODE THAT THE CONTAINER MADE OPENED A DEVICE OF THE HOST"


def test_what_is_mounted_below_a_read_only_bind_is_read_only(tmp_path: Path, image: Path) -> None:
    source = tmp_path / "source"
    script = "touch /data/sub/x 2>/dev/null && echo written; true"

    said = _run(tmp_path, image, script, source / "sub", "/data", str(source))

    assert said == "", "A READ-ONLY BIND WAS WRITTEN TO, IN A MOUNT BELOW IT"


def test_a_bind_is_read_only_before_it_is_put_in_its_place() -> None:
    """CVE-2021-30465: what is looked up twice may be another thing the second time."""
    from newroot.plan import steps as s
    from newroot.rootfs.mount_steps import mount_steps

    mount = {
        "destination": "/volume/link",
        "type": "bind",
        "source": "/a",
        "options": ["rbind", "rro", "rnodev"],
    }
    steps = mount_steps(mount, "/mounts/0", "/", "/scratch")

    assert [type(step) for step in steps] == [s.BindMount]
