"""``Engine``'s part for what is in volumes: out as a tar, and in."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from newroot.images.tree_in import Laid
    from newroot.rootfs.volumes import VolumeStore

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class VolumeVerbs:
    """What ``Engine`` can do with the files of volumes; ``engine.volumes`` has the rest."""

    volumes: VolumeStore

    def export_volume(self, name: str, file: str | os.PathLike[str] | BinaryIO) -> None:
        """Write all that is in a volume as a tar to *file*: a path, or an open file.

        Who uses it may write meanwhile.  A path has the tar only when it is whole.  Raises
        NotFound, StateError for a volume whose files are elsewhere.
        """
        from newroot.engine_files import opened
        from newroot.images.pack import Packer, gathered
        from newroot.images.tree_out import pack_tree

        held = self._hold(name)
        try:
            data = os.open("data", _DIRECTORY, dir_fd=held)
            try:
                packer = Packer(what=f"volume {name}")
                with opened(file) as fd:
                    for chunk in gathered(pack_tree(packer, data, b".", b".")):
                        _write(fd, chunk)
                    _write(fd, packer.end())
            finally:
                os.close(data)
        finally:
            os.close(held)

    def import_volume(self, name: str, file: str | os.PathLike[str] | BinaryIO) -> Laid:
        """Lay a tar, plain or compressed, down in a volume, beside what is in it.

        Owners, modes and devices are the archive's.  No name in it, and no link in the volume,
        leads out of the volume.  Raises NotFound, UnsafeEntry, ImageError, UsageError, StateError;
        what came before a failure stays.
        """
        if isinstance(file, (str, os.PathLike)):
            from newroot.errors import UsageError

            try:
                with open(file, "rb", buffering=0) as opened:
                    return self.import_volume(name, opened)
            except OSError as error:
                if error.filename is None:
                    raise
                raise UsageError(f"open {error.filename}: {error.strerror}") from None
        from newroot.images.stream import plain_chunks
        from newroot.images.tree_in import Layer

        held = self._hold(name)
        try:
            data = os.open("data", _DIRECTORY, dir_fd=held)
            try:
                what = str(getattr(file, "name", "the archive"))
                return Layer(data, b"", what=what).take(plain_chunks(file, what))
            finally:
                os.close(data)
        finally:
            os.close(held)

    def _hold(self, name: str) -> int:
        """The volume's descriptor: it is not removed meanwhile."""
        from newroot.errors import StateError

        if options := dict(self.volumes.get(name).options):
            raise StateError(
                f"the files of volume {name} are not here: its type is {options['type']}",
                hint="newroot cp reaches them in a container that runs",
            )
        return self.volumes.hold(name)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
