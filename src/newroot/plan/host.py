"""What a diagnosis may look at on the host.  A test may hand in another one.

Every question is asked after a start has failed, in this process's own namespaces.  What a plan
mounted is gone by then, so nothing here sees it.
"""

from __future__ import annotations

import os

from newroot.linux.mountinfo import Mount, read_mounts

_EVERYBODY = ("0", "0", "4294967295")  # user_namespaces(7): the initial namespace's map


class Host:
    """The host as this process sees it.  Paths are the host's."""

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def is_directory(self, path: str) -> bool:
        return os.path.isdir(path)

    def link_text(self, path: str) -> str | None:
        """The text of the symlink at *path*; None where there is none."""
        try:
            return os.readlink(path)
        except OSError:
            return None

    def is_same_file(self, one: str, other: str) -> bool:
        try:
            return os.path.samefile(one, other)
        except OSError:
            return False

    def device(self, path: str) -> int:
        return os.stat(path).st_dev

    def read(self, path: str) -> str | None:
        """A line of /proc; None where there is none."""
        try:
            with open(path, encoding="utf-8") as file:
                return file.read().strip()
        except OSError:
            return None

    def machine(self) -> str:
        return os.uname().machine

    def in_user_namespace(self) -> bool:
        """Whether this process is not in the initial user namespace."""
        text = self.read("/proc/self/uid_map")
        return text is not None and tuple(text.split()) != _EVERYBODY

    def mounts(self) -> tuple[Mount, ...]:
        return read_mounts()

    def mount_of(self, path: str) -> Mount | None:
        """The mount that *path* is on."""
        real, found = os.path.realpath(path), None
        for mount in self.mounts():  # a later one hides an earlier one
            at = mount.mount_point.rstrip("/")
            if (real == at or real.startswith(f"{at}/")) and (
                found is None or len(at) >= len(found.mount_point.rstrip("/"))
            ):
                found = mount
        return found

    def file_system(self, path: str) -> str:
        """The type of the file system that *path* is on; ``""`` if it cannot be told."""
        mount = self.mount_of(path) if self.exists(path) else None
        return "" if mount is None else mount.fstype

    def is_mount_point(self, path: str) -> bool:
        real = os.path.realpath(path)
        return any(mount.mount_point == real for mount in self.mounts())

    def is_shared(self, path: str) -> bool:
        mount = self.mount_of(path)
        return mount is not None and mount.shared is not None

    def root_type(self) -> str:
        """The file system of /, ``rootfs`` on an initramfs."""
        return self.file_system("/")

    def is_chrooted(self) -> bool:
        """Whether / is no mount point, as in a chroot."""
        return not any(mount.mount_point == "/" for mount in self.mounts())
