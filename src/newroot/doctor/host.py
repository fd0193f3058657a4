"""What newroot runs on: asked of the host by doing, never by a version number."""

from __future__ import annotations

import os

from newroot.doctor.check import Finding
from newroot.errors import SyscallError
from newroot.isolation.cgroups.detect import detect
from newroot.linux.features import probe_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from newroot.doctor.check import Patient, State

_LOW = 256 << 20
_LIMITS = ("cpu", "memory", "pids")


#: Without these nothing starts.
_NEEDED = frozenset({"clone3", "mount-api", "openat2", "pidfd"})
#: What to do where a feature does not work, and what is missed meanwhile.
_REMEDIES = {
    "clone3": "Linux 5.3 or later; a seccomp filter of an outer container may hide it",
    "mount-api": "Linux 5.14 or later; in a container it needs CAP_SYS_ADMIN or a user namespace",
    "openat2": "Linux 5.6 or later; a seccomp filter of an outer container may hide it",
    "pidfd": "Linux 5.3 or later; a seccomp filter of an outer container may hide it",
    "overlay": "modprobe overlay, or leave images for --rootfs DIR; no layers are shared without",
    "overlay-userxattr": "Linux 5.11 or later: images without root need it",
    "overlay-lowerdir+": "Linux 6.5 or later: many layers with long names need it",
    "erofs": "modprobe erofs; only images kept as EROFS need it",
    "idmapped-mounts": "root, and a file system that can: --userns private needs them",
    "userns": "sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, or the host's "
    "AppArmor rule for user namespaces: running without root needs it",
    "netns": "a kernel with CONFIG_NET_NS: only --network host without",
    "cgroupns": "a kernel with CONFIG_CGROUPS: --cgroupns host without",
    "timens": "a kernel with CONFIG_TIME_NS: only bundles that ask for it miss it",
    "seccomp": "a kernel with CONFIG_SECCOMP_FILTER, or --security-opt seccomp=unconfined",
    "seccomp-notify": "Linux 5.9 or later: only bundles with a listener miss it",
    "landlock": "lsm=landlock on the kernel's command line; nothing of newroot's needs it",
}
#: Of cgroups one kind is enough, and cgroups.py says which there is.
_EITHER = frozenset({"cgroup1", "cgroup2", "cgroup-hybrid"})


def check_features(patient: Patient) -> Iterator[Finding]:
    """What of the kernel's features works here, and what to do where one does not."""
    for name, probe in sorted(probe_all().items()):
        words = f"{name}: {'yes' if probe.works else 'no'}: {probe.tried}"
        if probe.works or name in _EITHER:
            yield Finding(state="note", words=words)
        else:
            yield Finding(
                state="lost" if name in _NEEDED else "note",
                words=words,
                hint=_REMEDIES.get(name),
            )


def check_isolation(patient: Patient) -> Iterator[Finding]:
    """Which rung of the ladder this user is on, and what would lead higher."""
    from newroot.isolation.rungs import find_rung

    rung = find_rung()
    words = f"{rung.words}: {rung.why}" if rung.why else rung.words
    state: State = "lost" if rung.name == "none" else "note"
    yield Finding(state=state, words=words, hint=rung.remedy or None)


def check_cgroups(patient: Patient) -> Iterator[Finding]:
    """Which hierarchies there are."""
    try:
        host = detect()
    except SyscallError as error:
        yield Finding(state="note", words=f"none: {error}")
        return
    missing = [name for name in _LIMITS if host.find(name) is None]
    if missing:
        yield Finding(
            state="note",
            words=f"{host.mode}, without {', '.join(missing)}: what they limit is not limited",
            hint="a user needs Delegate=yes in user@.service; memory may need cgroup_enable=memory "
            "on the kernel's command line",
        )
    else:
        yield Finding(state="note", words=f"{host.mode}, with {', '.join(_LIMITS)}")


def check_disk(patient: Patient) -> Iterator[Finding]:
    """How much room the store has."""
    path = patient.engine.root
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    status = os.statvfs(path)
    free = status.f_bavail * status.f_frsize
    words = f"{free // 1_000_000} MB free below {patient.engine.root}"
    if free < _LOW or (status.f_files and not status.f_favail):
        yield Finding(state="lost", words=words, hint="newroot image prune -a makes room")
    else:
        yield Finding(state="note", words=words)
