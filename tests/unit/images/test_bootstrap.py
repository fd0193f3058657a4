"""A busybox image is whole, and the same each time."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from newroot.errors import UsageError
from newroot.images.bootstrap import bootstrap_busybox
from newroot.images.store import ImageStore
from newroot.testing.needs import needs

pytestmark = needs("busybox")


def test_the_same_busybox_gives_the_same_digest(store, tmp_path):
    one = bootstrap_busybox(store)
    two = bootstrap_busybox(ImageStore(tmp_path / "other"), name="other:1")

    assert one.digest == two.digest
    assert "docker.io/library/busybox:latest" == one.reference


def test_it_has_what_a_root_needs(store):
    image = bootstrap_busybox(store)
    root = Path(image.layers[0])

    assert ["sh"] == image.config["config"]["Cmd"]
    assert image.config["config"]["Env"][0].startswith("PATH=/usr/local/sbin:")
    assert 0o1777 == stat.S_IMODE((root / "tmp").stat().st_mode)
    assert {"bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "var"} <= set(
        os.listdir(root)
    )
    assert (root / "bin/sh").samefile(root / "bin/busybox")
    assert "root:x:0:0:" in (root / "etc/passwd").read_text()
    assert [] == os.listdir(root / "proc")


@needs("root")
def test_its_shell_runs_in_it(store):
    image = bootstrap_busybox(store)
    done = subprocess.run(
        ["chroot", image.layers[0], "/bin/sh", "-c", "ls / | wc -l; id -un"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert "root" in done.stdout


@pytest.mark.parametrize(
    ("path", "words"),
    [("/bin/bash", "needs a loader"), ("/etc/passwd", "not a program"), ("/no", "No such file")],
)
def test_what_is_no_static_busybox_is_refused_with_the_remedy(store, path, words):
    with pytest.raises(UsageError, match=words) as caught:
        bootstrap_busybox(store, busybox=path)

    assert "busybox-static" in caught.value.hint
    assert not os.path.exists(store.root)
