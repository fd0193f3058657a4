"""Where a mount goes when the image has symlinks in the way: always inside the root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from newroot.engine import Engine
from newroot.testing import needs

pytestmark = needs("root")

_SHOW = 'for p in "$@"; do cat $p; done'


@pytest.fixture
def root(tiny_root: Path) -> Path:
    (tiny_root / "etc").mkdir(exist_ok=True)
    return tiny_root


def _cat(root: Path, state: Path, target: str, shown: str, data: str = "here") -> str:
    source = state / "source"
    source.write_text(data)
    with Engine(state / "engine") as engine:
        result = engine.run(
            rootfs=f"{root}:O",
            command=["/bin/sh", "-c", _SHOW, "sh", shown],
            mounts=[f"type=bind,src={source},dst={target}"],
            capture_output=True,
            text=True,
        )
    assert result.stderr == ""
    return str(result.stdout)


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        ("/run/later/file", "/run/later/file"),
        ("../run/later/file", "/run/later/file"),
        ("../../../../run/later/file", "/run/later/file"),
        ("other", "/etc/other"),
    ],
)
def test_target_that_is_a_dangling_symlink_is_made_where_it_leads(
    root: Path, tmp_path: Path, link: str, shown: str
) -> None:
    """As an image of systemd-resolved has /etc/resolv.conf."""
    (root / "etc/link").symlink_to(link)

    assert _cat(root, tmp_path, "/etc/link", shown) == "here"


def test_dangling_symlinks_to_the_host_lead_nowhere_on_the_host(root: Path, tmp_path: Path) -> None:
    aim = tmp_path / "aim"
    aim.mkdir()
    (root / "out").symlink_to(aim)

    said = _cat(root, tmp_path, "/out/file", f"{aim}/file")

    assert (said, os.listdir(aim)) == ("here", []), "A SYMLINK OF THE IMAGE LED TO THE HOST"


def test_symlinks_that_lead_in_a_circle_end(root: Path, tmp_path: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")

    with pytest.raises(OSError, match="loop of symlinks"):
        _cat(root, tmp_path, "/a/x", "/a/x")


def test_the_three_files_of_etc_need_nothing_in_the_image(root: Path, tmp_path: Path) -> None:
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")

    assert _cat(root, tmp_path, "/mine", "/etc/resolv.conf").startswith("#")
