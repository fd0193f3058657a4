"""A damaged file of one container, after a crash or a full disk, hides no other container."""

from __future__ import annotations

from pathlib import Path

import pytest

from newroot.engine import Engine
from newroot.testing import needs
from newroot.testing.roots import tiny_root

pytestmark = needs("root")


@pytest.fixture
def rootfs(tmp_path: Path) -> str:
    return tiny_root(tmp_path / "image")


@pytest.mark.parametrize("document", ["record.json", "exit.json"])
@pytest.mark.parametrize(
    "damaged",
    [
        b"", b"{", b"[]", b"5", b"\xff", b'{"created": "x"}', b'{"created": null}',
        b'{"created": 1e400}', b'{"created": 1, "command": 5, "lower": {}, "name": {}}',
        b'{"created": 1, "command": [1], "volumes": 5}',
        b'{"exitCode": "x", "signal": [], "finished": "z"}',
    ],
)  # fmt: skip
def test_all_containers_are_listed_and_the_damaged_one_can_be_removed(
    tmp_path: Path, rootfs: str, document: str, damaged: bytes
) -> None:
    with Engine(tmp_path / "engine") as engine:
        for name in ("broken", "whole"):
            engine.run(rootfs=rootfs, command=["/bin/true"], rm=False, name=name)
        broken = next(c for c in engine.containers() if c.name == "broken")
        Path(engine.storage.directory(broken.id), document).write_bytes(damaged)

        found = {container.id: container for container in engine.containers()}
        assert len(found) == 2
        assert "whole" in {container.name for container in found.values()}

        engine.remove_container(broken.id, with_volumes=True)
        assert [container.name for container in engine.containers()] == ["whole"]


def test_anonymous_volumes_of_a_start_that_failed_are_gone(tmp_path: Path, rootfs: str) -> None:
    from newroot.errors import NewrootError

    with Engine(tmp_path / "engine") as engine:
        with pytest.raises(NewrootError):
            engine.run(
                rootfs=rootfs,
                command=["/bin/true"],
                rm=False,
                volumes=["/a"],
                tmpfs=[f"/m/{n}" for n in range(2000)],  # more steps than newroot-init takes
            )

        assert list(engine.volumes.list()) == []
