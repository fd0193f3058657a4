"""The seccomp profile of a container that asks for none, and profiles in Docker's format.

``compiled_default`` is on every start's way, so the usual programs are kept ready in
seccomp_precompiled.py (written by scripts/gen-seccomp-default, compared with a fresh compilation by
tests/unit/isolation/test_seccomp_default.py).  Everything else is imported when it is needed.
"""

from __future__ import annotations

from newroot.errors import SpecError, UsageError
from newroot.linux import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

#: The capabilities that Docker's profile asks for: no other changes the program.
CAPABILITIES = frozenset(
    f"CAP_{name}"
    for name in (
        "DAC_READ_SEARCH SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_PACCT SYS_PTRACE SYS_RAWIO"
        " SYS_TIME SYS_TTY_CONFIG SYS_NICE SYSLOG BPF PERFMON"
    ).split()
)

#: Our architectures as OCI and as Docker's profiles call them.
_OCI = {
    "x86_64": "SCMP_ARCH_X86_64",
    "i386": "SCMP_ARCH_X86",
    "x32": "SCMP_ARCH_X32",
    "aarch64": "SCMP_ARCH_AARCH64",
    "arm": "SCMP_ARCH_ARM",
}
_DOCKER = {"x86_64": "amd64", "i386": "x86", "x32": "x32", "aarch64": "arm64", "arm": "arm"}

#: What Docker's format has besides OCI's; the rest of a profile is handed on as it is.
_NOT_OCI = ("archMap", "syscalls", "defaultErrno")


def compiled_default(caps: Iterable[str], arch: str | None = None) -> tuple[bytes, int]:
    """The default profile's program and flags, for a container with the bounding set *caps*.

    The same as compiling ``default_profile``, and for the usual capabilities without doing it.
    """
    from newroot.isolation import seccomp_precompiled

    machine = arch or syscalls.native_arch()
    wanted = CAPABILITIES.intersection(caps)
    ready = seccomp_precompiled.PROGRAMS.get(f"{machine} {' '.join(sorted(wanted))}".strip())
    if ready is not None:
        return ready, seccomp_precompiled.FLAGS
    from newroot.isolation.seccomp import compile_filter

    return compile_filter(default_profile(wanted, machine), arch=machine)


def default_profile(
    caps: Iterable[str], arch: str | None = None, kernel: tuple[int, int] | None = None
) -> dict[str, object]:
    """Docker's default profile as an OCI seccomp object, for a bounding set of *caps*."""
    from newroot.isolation import seccomp_docker

    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "archMap": [
            {"architecture": each, "subArchitectures": list(others)}
            for each, others in seccomp_docker.ARCH_MAP.items()
        ],
        "syscalls": seccomp_docker.rules(),
    }
    return from_docker(profile, caps, arch, kernel)


def load_profile(
    text: bytes | str,
    caps: Iterable[str],
    arch: str | None = None,
    kernel: tuple[int, int] | None = None,
) -> dict[str, object]:
    """Read the profile of ``--security-opt seccomp=FILE``: Docker's format, or plain OCI.

    Raises UsageError when it is not JSON, SpecError with the place in the file otherwise.
    """
    import json

    try:
        profile = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"read the seccomp profile: not JSON: {error}") from None
    return from_docker(profile, caps, arch, kernel)


def from_docker(
    profile: object,
    caps: Iterable[str],
    arch: str | None = None,
    kernel: tuple[int, int] | None = None,
) -> dict[str, object]:
    """Turn a profile in Docker's format into an OCI seccomp object.

    A rule stays when its ``includes`` hold and none of its ``excludes`` does, for the bounding set
    *caps*, the machine and the kernel (moby, profiles/seccomp/seccomp_linux.go, setupSeccomp).
    Rules and actions are checked later, by ``compile_filter``.  Raises SpecError.
    """
    if not isinstance(profile, dict):
        raise SpecError("a seccomp profile must be an object", pointer="")
    if profile.get("architectures") and profile.get("archMap"):
        raise SpecError("use either architectures or archMap", pointer="/archMap")
    machine = arch or syscalls.native_arch()
    here = _Here(frozenset(caps), _DOCKER[machine], kernel)
    found = {key: value for key, value in profile.items() if key not in _NOT_OCI}
    architectures = _architectures(profile, _OCI[machine])
    if architectures:
        found["architectures"] = architectures
    rules = []
    for index, rule in enumerate(_list(profile, "syscalls", "")):
        pointer = f"/syscalls/{index}"
        if not isinstance(rule, dict):
            raise SpecError("must be an object", pointer=pointer)
        if here.wants(rule, pointer):
            rules.append(_rule(rule, pointer))
    found["syscalls"] = rules
    return found


def own_architectures() -> list[str]:
    """OCI's names of the architectures that this machine's programs may be of."""
    from newroot.isolation import seccomp_docker

    native = _OCI[syscalls.native_arch()]
    return [native, *seccomp_docker.ARCH_MAP.get(native, ())]


class _Here:
    """Who and where we are, to the eyes of ``includes`` and ``excludes``."""

    def __init__(self, caps: frozenset[str], machine: str, kernel: tuple[int, int] | None) -> None:
        self.caps = caps
        self.machine = machine
        self._kernel = kernel

    @property
    def kernel(self) -> tuple[int, int]:
        if self._kernel is None:
            import os

            major, minor = os.uname().release.split("-")[0].split(".")[:2]
            self._kernel = int(major), int(minor)
        return self._kernel

    def wants(self, rule: dict[str, object], pointer: str) -> bool:
        if any(self._answers(rule.get("excludes"), f"{pointer}/excludes")):
            return False
        return all(self._answers(rule.get("includes"), f"{pointer}/includes"))

    def _answers(self, filters: object, pointer: str) -> list[bool]:
        """Whether each thing that is asked for is so; every capability counts for itself."""
        if filters is None:
            return []
        if not isinstance(filters, dict):
            raise SpecError("must be an object", pointer=pointer)
        answers = [cap in self.caps for cap in _list(filters, "caps", pointer)]
        if machines := _list(filters, "arches", pointer):
            answers.append(self.machine in machines)
        if (minimum := filters.get("minKernel")) is not None:
            answers.append(self.kernel >= _version(minimum, f"{pointer}/minKernel"))
        return answers


def _architectures(profile: dict[str, object], native: str) -> list[object]:
    for index, entry in enumerate(_list(profile, "archMap", "")):
        if not isinstance(entry, dict):
            raise SpecError("must be an object", pointer=f"/archMap/{index}")
        if entry.get("architecture") == native:
            return [native, *_list(entry, "subArchitectures", f"/archMap/{index}")]
    return _list(profile, "architectures", "")


def _rule(rule: dict[str, object], pointer: str) -> dict[str, object]:
    """The rule as OCI has it.  The oldest profiles name one system call in ``name``."""
    found = {key: rule[key] for key in ("names", "action", "errnoRet", "args") if rule.get(key)}
    if rule.get("errnoRet") == 0:
        found["errnoRet"] = 0
    if name := rule.get("name"):
        if rule.get("names"):
            raise SpecError("use either name or names", pointer=f"{pointer}/name")
        found["names"] = [name]
    return found


def _version(untrusted: object, pointer: str) -> tuple[int, int]:
    parts = untrusted.split(".") if isinstance(untrusted, str) else []
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() for part in parts):
        raise SpecError("must be a kernel version such as 4.8", pointer=pointer)
    return int(parts[0]), int(parts[1])


def _list(untrusted: dict[str, object], key: str, pointer: str) -> list[object]:
    value = untrusted.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise SpecError("must be a list", pointer=f"{pointer}/{key}")
    return value
