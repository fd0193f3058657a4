"""CVE-2021-30465: who shares a volume swaps a directory for a symlink while a mount goes there."""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path
from subprocess import DEVNULL

from newroot.engine import Engine
from newroot.errors import NewrootError
from newroot.testing import needs

pytestmark = needs("root")

_STARTS = 60
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # renameat2(2)


def test_a_race_in_a_shared_volume_leads_nowhere_on_the_host(
    engine: Engine, image: Path, tmp_path: Path
) -> None:
    volume, aim, source = tmp_path / "volume", tmp_path / "aim", tmp_path / "source"
    for directory in (volume, aim, source):
        directory.mkdir()
    (source / "mark").write_text("bound")
    (volume / "a").mkdir()
    (volume / "b").symlink_to("/" + "../" * 30 + str(aim)[1:])
    done = threading.Event()

    a, b = os.fsencode(volume / "a"), os.fsencode(volume / "b")
    renameat2 = ctypes.CDLL(None, use_errno=True).renameat2

    def swap() -> None:
        while not done.is_set():
            assert renameat2(_AT_FDCWD, a, _AT_FDCWD, b, _RENAME_EXCHANGE) == 0

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(_STARTS):
            try:
                engine.run(
                    rootfs=f"{image}:O",
                    command=["/bin/sh", "-c", "touch /v/a/sub/written"],
                    volumes=[f"{volume}:/v", f"{source}:/v/a/sub"],
                    stderr=DEVNULL,
                )
            except NewrootError:
                pass  # what is there when it is looked at will not do

            assert os.listdir(aim) == [], "A MOUNT OR A DIRECTORY WAS MADE ON THE HOST"
    finally:
        done.set()
        swapper.join()
