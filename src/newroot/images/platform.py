"""Which of an index's images is for this machine, or for the one that was asked for.

The words are image-spec's, which are Go's GOOS and GOARCH; what people type in their place is
understood as containerd's platforms package does.
"""

from __future__ import annotations

import os

from newroot.errors import UsageError
from newroot.record import record

#: ``uname -m`` in the words of image-spec: GOARCH and GOARM
_MACHINES = {
    "x86_64": ("amd64", None),
    "i686": ("386", None),
    "aarch64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "riscv64": ("riscv64", None),
    "ppc64le": ("ppc64le", None),
    "s390x": ("s390x", None),
    "loongarch64": ("loong64", None),
    "mips64": ("mips64le", None),
}
_TYPED = {
    "x86_64": ("amd64", None),
    "x86-64": ("amd64", None),
    "aarch64": ("arm64", "v8"),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "i386": ("386", None),
}
_ARM = ("v8", "v7", "v6", "v5")
_WORD = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-")


@record
class Platform:
    """An operating system, an architecture, and which kind of it."""

    architecture: str
    variant: str | None = None
    os: str = "linux"

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def rank(self, untrusted: object) -> int | None:
        """How well an index's ``platform`` object suits, 0 the best; None: not at all.

        An index that says nothing of an entry's platform suits, after all that do.
        """
        if untrusted is None:
            return 1000
        if not isinstance(untrusted, dict):
            return None
        if untrusted.get("os") != self.os or untrusted.get("architecture") != self.architecture:
            return None
        variant = untrusted.get("variant") or None
        wanted, found = self._normal(self.variant), self._normal(variant)
        if found == wanted:
            return 0
        if self.architecture == "arm" and wanted in _ARM and found in _ARM:
            # A processor runs what was made for an older one.
            older = _ARM.index(found) - _ARM.index(wanted)
            return older if older > 0 else None
        if found is None or (self.architecture == "arm64" and found == "v8"):
            return 1
        return None

    def _normal(self, variant: str | None) -> str | None:
        if self.architecture == "arm64":
            return variant or "v8"
        if self.architecture == "arm":
            return variant or "v7"
        if self.architecture == "amd64" and variant == "v1":
            return None
        return variant


def host_platform() -> Platform:
    """This machine's."""
    machine = os.uname().machine
    architecture, variant = _MACHINES.get(machine, (machine, None))
    return Platform(architecture=architecture, variant=variant)


def parse_platform(text: str) -> Platform:
    """Read ``linux/arm64/v8``, ``arm64`` or ``linux``.  Raises UsageError."""
    parts = text.strip().lower().split("/")
    if not 1 <= len(parts) <= 3 or not all(part and _WORD.issuperset(part) for part in parts):
        raise UsageError(
            f"read platform {text!r}: it is not OS[/ARCHITECTURE[/VARIANT]]",
            hint="such as linux/arm64 or linux/arm/v7",
        )
    if parts == ["linux"]:
        return host_platform()
    if len(parts) == 1:
        parts = ["linux", *parts]
    if parts[0] != "linux":
        raise UsageError(f"read platform {text!r}: newroot takes images of linux only")
    architecture, variant = _TYPED.get(parts[1], (parts[1], None))
    return Platform(architecture=architecture, variant=parts[2] if parts[2:] else variant)
