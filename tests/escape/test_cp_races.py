"""A running container swaps a directory for a link to the host's files while ``cp`` goes by it.

CVE-2018-15664 (docker cp), CVE-2019-14271: who looks a name up and then uses it by its name again,
or with the host's root, copies the host's files out, or writes there.
"""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from newroot import engine_between
from newroot.engine import Engine
from newroot.errors import NewrootError
from newroot.images import tree_in, tree_out
from newroot.images.pack import Packer
from newroot.linux.paths import Entry, Walk
from newroot.testing import needs

pytestmark = [needs("root", "gcc"), pytest.mark.timeout(120)]

_ROUNDS = 300
_SECRET = "the host's secret"

#: Swaps /x/a, a directory, and /x/b, a link to a directory of the host, as fast as can be.
_SWAPPER = """
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/syscall.h>
int main (void)
{
  write (1, "ready\\n", 6);
  for (;;)
    syscall (SYS_renameat2, AT_FDCWD, "/x/a", AT_FDCWD, "/x/b", 2 /* RENAME_EXCHANGE */);
}
"""


@pytest.fixture
def aim(tmp_path: Path) -> Path:
    """A directory of the host that nobody may read or write by a container."""
    aim = tmp_path / "aim"
    (aim / "sub").mkdir(parents=True)
    for place in (aim, aim / "sub"):
        (place / "canary").write_text(_SECRET)
    return aim


@pytest.fixture
def box(engine: Engine, image: Path, aim: Path, tmp_path: Path) -> Iterator[str]:
    (tmp_path / "swapper.c").write_text(_SWAPPER)
    program = image / "bin/swapper"
    subprocess.run(
        ["gcc", "-static", "-O1", "-w", "-o", program, tmp_path / "swapper.c"], check=True
    )
    (image / "x/a/sub").mkdir(parents=True)
    for place in ("x/a", "x/a/sub"):
        (image / place / "canary").write_text("the container's own")
    (image / "x/b").symlink_to(aim)
    made = engine.create(rootfs=str(image), command=["/bin/swapper"], name="box")
    engine.start(made)
    for entry in engine.logs("box", follow=True):
        assert entry.data == b"ready\n"
        break
    yield "box"
    engine.remove_container(made, force=True)


@pytest.fixture(params=["guarded", "without the walk", "without the descriptors"])
def guarded(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Once as it is; then with a guard taken out, which the test must notice."""
    if request.param == "without the walk":
        monkeypatch.setattr(engine_between, "Walk", _Kernels)
        monkeypatch.setattr(tree_in, "Walk", _Kernels)
    if request.param == "without the descriptors":
        # Looked up in the container, and then used by its name on the host's side.
        monkeypatch.setattr(engine_between, "Walk", _ByName)
        monkeypatch.setattr(tree_in, "Walk", _ByName)
    return bool(request.param == "guarded")


class _Kernels(Walk):
    """The kernel looks the whole path up: an absolute link leads to our own root."""

    def resolve(self, path: str, *, follow: bool = True) -> tuple[Entry, str, Entry | None]:
        root = self._root.fds[0]
        self.names[:] = [part for part in path.split("/") if part not in ("", ".")]
        name = self.names[-1] if self.names else "."
        above = "/".join(self.names[:-1]) or "."
        parent = self._opened_at(above, root)
        try:
            fd = os.open(name, os.O_PATH, dir_fd=parent)
        except FileNotFoundError:
            return Entry((parent,), stat.S_IFDIR), name, None
        self._opened.append(fd)
        return Entry((parent,), stat.S_IFDIR), name, Entry((fd,), os.fstat(fd).st_mode)

    def _opened_at(self, path: str, root: int) -> int:
        fd = os.open(path, os.O_PATH, dir_fd=root)
        self._opened.append(fd)
        return fd


class _ByName(_Kernels):
    """What is found safely is opened again by its name."""

    def resolve(self, path: str, *, follow: bool = True) -> tuple[Entry, str, Entry | None]:
        Walk.resolve(self, path, follow=follow)
        return super().resolve("/".join(self.names), follow=follow)


def _attempt(action: object) -> None:
    try:
        action()  # type: ignore[operator]
    except (NewrootError, OSError):
        pass  # what is there when it is looked at will not do


def test_nothing_of_the_host_is_written(
    engine: Engine, box: str, aim: Path, tmp_path: Path, guarded: bool
) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub/canary").write_text("WRITTEN")
    (source / "new").write_text("WRITTEN")
    touched = False
    for _ in range(_ROUNDS):
        _attempt(lambda: engine.copy_to(f"{source}/.", box, "/x/a"))
        _attempt(lambda: engine.copy_to(source / "new", box, "/x/a/sub/canary"))
        names = sorted(str(p.relative_to(aim)) for p in aim.rglob("*"))
        texts = {p.read_text() for p in aim.rglob("canary")}
        touched = names != ["canary", "sub", "sub/canary"] or texts != {_SECRET}
        if touched:
            break

    assert touched != guarded, "A FILE OF THE HOST WAS WRITTEN" if touched else "no teeth"


def test_nothing_of_the_host_is_read(
    engine: Engine, box: str, aim: Path, tmp_path: Path, guarded: bool
) -> None:
    stolen = False
    for number in range(_ROUNDS):
        for path in ("/x/a/sub", "/x/a", "/x/a/canary"):
            out = tmp_path / f"out{number}{path.replace('/', '-')}"
            _attempt(lambda: engine.copy_from(box, path, out))  # noqa: B023
            # A link that was copied as a link is no theft: what it leads to was not copied.
            below = [] if out.is_symlink() else out.rglob("*")
            found = [p for p in (out, *below) if p.is_file() and not p.is_symlink()]
            stolen = stolen or any(p.read_text() == _SECRET for p in found)
        if stolen:
            break

    assert stolen != guarded, "A FILE OF THE HOST WAS READ" if stolen else "no teeth"


class _Swapping(Packer):
    """Swaps a directory for a link between the moments when it is looked at and opened."""

    def __init__(self, aim: Path) -> None:
        super().__init__(what="a swapped tree")
        self._aim = aim

    def file(
        self, path: bytes, parent: int, name: bytes, status: os.stat_result
    ) -> Iterator[bytes]:
        yield from super().file(path, parent, name, status)
        if name == b"swapped":
            os.rename(name, b"away", src_dir_fd=parent, dst_dir_fd=parent)
            os.symlink(self._aim, name, dir_fd=parent)


@pytest.mark.parametrize("guarded", [True, False])
def test_a_tree_that_is_swapped_while_it_is_packed_leads_nowhere(
    aim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    tree = tmp_path / "tree"
    (tree / "swapped").mkdir(parents=True)
    (tree / "swapped/canary").write_text("the container's own")
    if not guarded:
        monkeypatch.setattr(tree_out, "_DIRECTORY", os.O_RDONLY | os.O_DIRECTORY)
    fd = os.open(tree, os.O_PATH)
    try:
        data = b"".join(tree_out.pack_tree(_Swapping(aim), fd, b".", b"."))
    finally:
        os.close(fd)

    assert (_SECRET.encode() in data) != guarded
