"""``Engine``'s part for files that go into a container and come out of it: ``docker cp``.

The work is in engine_between.py, which is loaded when there is some.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO, TypeVar

    from newroot.container.reach import Reached
    from newroot.container.storage import ContainerStorage
    from newroot.images.tree_in import Laid
    from newroot.plan.launcher import Launcher
    from newroot.rootfs.volumes import VolumeStore

    Outcome = TypeVar("Outcome")


class CopyVerbs:
    """What ``Engine`` can do with single files of containers."""

    storage: ContainerStorage
    volumes: VolumeStore

    def _find(self, name: str) -> str:
        raise NotImplementedError

    def _get_launcher(self) -> Launcher:
        raise NotImplementedError

    def copy_to(
        self,
        source: str | os.PathLike[str] | BinaryIO,
        container: str,
        path: str,
        *,
        archive: bool = False,
        follow: bool = False,
    ) -> Laid:
        """Copy a file or a directory of the host, or the tar that an open file has, into a
        container.

        Where it goes follows ``docker cp``: into *path* where that is a directory, else as
        *path*; of a *source* that ends with ``/.`` what is in it.  A tar goes into a directory.
        The container may run, have ended, or never have been started; its volumes are there.

        All becomes its root's, without set-user-ID bits and device nodes; with *archive* it keeps
        its owners and rights.  With *follow* a *source* that is a symlink is what it leads to.
        No name in the container, whatever it does meanwhile, leads out of it.

        Raises NotFound, UsageError, WrongStatus, StateError, SyscallError; what was copied by
        then stays.
        """
        from newroot.engine_between import copy, lay_stream, with_host

        if not isinstance(source, (str, os.PathLike)):
            return self._reach(container, lambda to: lay_stream(source, to, path, archive))
        given = os.fspath(source)

        def use(to: Reached) -> Laid:
            return with_host(
                lambda host: copy(host, given, to, path, archive=archive, follow=follow)
            )

        return self._reach(container, use)

    def copy_from(
        self,
        container: str,
        path: str,
        target: str | os.PathLike[str] | BinaryIO,
        *,
        archive: bool = False,
        follow: bool = False,
    ) -> Laid | None:
        """Copy a file or a directory of a container to the host, or as a tar into an open file.

        The other way of ``copy_to()``, with the same rules.  All becomes the caller's, unless
        *archive*.
        """
        from newroot.engine_between import copy, send, with_host

        if not isinstance(target, (str, os.PathLike)):
            return self._reach(container, lambda at: send(at, path, target, follow))
        given = os.fspath(target)

        def use(at: Reached) -> Laid:
            return with_host(
                lambda host: copy(at, path, host, given, archive=archive, follow=follow)
            )

        return self._reach(container, use)

    def copy_between(
        self,
        container: str,
        path: str,
        target: str,
        target_path: str,
        *,
        archive: bool = False,
        follow: bool = False,
    ) -> Laid:
        """Copy from one container into another, or within one, by the same rules."""
        from newroot.engine_between import copy

        def both(at: Reached) -> Laid:
            def use(to: Reached) -> Laid:
                return copy(at, path, to, target_path, archive=archive, follow=follow)

            # One that does not run is held by us already, and would be waited for.
            same = self._find(container) == self._find(target)
            return use(at) if same else self._reach(target, use)

        return self._reach(container, both)

    def _reach(self, name: str, use: Callable[[Reached], Outcome]) -> Outcome:
        from newroot.container.reach import with_root

        container_id = self._find(name)
        return with_root(self.storage, self.volumes, self._get_launcher, container_id, use)
