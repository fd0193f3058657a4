"""Archives made by hand, and a scene to try them in: a store, and a host file beside it.

Two questions are asked of a hostile archive: was it refused whole, or was it contained?
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from newroot.errors import ImageError, NewrootError
from newroot.images.flat import import_tar
from newroot.images.limits import DEFAULT, Limits
from newroot.images.store import ImageStore
from newroot.linux.erofs import open_layer
from newroot.linux.paths import EROFS_SUFFIX

Member = tuple[tarfile.TarInfo, bytes]


class Archive:
    """Makes members of a tar, one call each."""

    @staticmethod
    def member(
        name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **fields: Any
    ) -> Member:
        info = tarfile.TarInfo(name)
        info.type = kind
        info.size = len(data)
        info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
        for key, value in fields.items():
            setattr(info, key, value)
        return info, data

    def file(self, name: str, data: bytes = b"evil", **fields: Any) -> Member:
        return self.member(name, data=data, **fields)

    def directory(self, name: str, **fields: Any) -> Member:
        return self.member(name, tarfile.DIRTYPE, **fields)

    def symlink(self, name: str, target: str) -> Member:
        return self.member(name, tarfile.SYMTYPE, linkname=target)

    def hard_link(self, name: str, target: str) -> Member:
        return self.member(name, tarfile.LNKTYPE, linkname=target)

    @staticmethod
    def of(*members: Member, format: int = tarfile.PAX_FORMAT) -> bytes:
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w", format=format) as tar:
            for info, data in members:
                tar.addfile(info, io.BytesIO(data))
        return made.getvalue()


def listing(*roots: Path) -> list[tuple[object, ...]]:
    """Every file below *roots*: name, mode, owner, size, links, content."""
    return [_described(path) for root in roots for path in _walk(root)]


def _walk(root: Path) -> Iterable[Path]:
    yield root
    for directory, names, files in os.walk(root):
        for name in sorted(names + files):
            yield Path(directory, name)


def _described(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    content = os.readlink(path) if path.is_symlink() else None
    if path.is_file() and not path.is_symlink():
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    size = None if path.is_dir() else status.st_size
    links = None if path.is_dir() else status.st_nlink
    return str(path), oct(status.st_mode), status.st_uid, status.st_gid, size, links, content


class Scene:
    """A store that has one image, and a host whose files are not the archive's business."""

    def __init__(self, directory: Path, *, layers_as: str | None = None) -> None:
        self.host = directory / "host"
        self.host.mkdir()
        (self.host / "secret").write_text("a host file")
        self.store = ImageStore(directory / "root", layers_as=layers_as)
        self._open: list[int] = []
        made = Archive()
        import_tar(self.store, io.BytesIO(made.of(made.file("hello", b"hello"))), "before")
        self._directory = directory

    def everything(self) -> list[tuple[object, ...]]:
        return listing(self._directory)

    def refuses(
        self,
        archive: bytes,
        words: str,
        kind: type[NewrootError] = ImageError,
        limits: Limits = DEFAULT,
    ) -> NewrootError:
        """The archive is refused in one line, and not one byte anywhere has changed."""
        before = self.everything()
        with pytest.raises(kind) as caught:
            import_tar(self.store, io.BytesIO(archive), "evil", limits=limits)

        assert before == self.everything(), "A REFUSED ARCHIVE CHANGED FILES"
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)
        return caught.value

    def contains(self, archive: bytes, *, absolute_names: bool = False) -> Path:
        """The archive is unpacked, and nothing outside its layer has changed."""
        before = listing(self.host)
        image = import_tar(
            self.store, io.BytesIO(archive), "contained", absolute_names=absolute_names
        )

        assert before == listing(self.host), "HOST PATH WAS CHANGED"
        layer = image.layers[0]
        if not layer.endswith(EROFS_SUFFIX):
            return Path(layer)
        self._open.append(open_layer(layer, os.O_RDONLY | os.O_DIRECTORY))
        return Path(f"/proc/self/fd/{self._open[-1]}")

    def close(self) -> None:
        """Let go of the layers that were opened to be looked into."""
        while self._open:
            os.close(self._open.pop())
