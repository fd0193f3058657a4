"""An OCI bundle that asks runc, crun and newroot-oci for what Docker asks of them.

Six namespaces, Docker's mounts, masks and fourteen capabilities, and when asked for the
distribution's seccomp profile (/usr/share/containers/seccomp.json), resolved the way an
engine does: with libseccomp that is more than all the rest, so rows say which they are.
"""

from __future__ import annotations

import json
from pathlib import Path

from rig import Unavailable

PROFILE = Path("/usr/share/containers/seccomp.json")
CAPABILITIES = [
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP "
        "NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE"
    ).split()
]
MOUNTS = (
    ("/proc", "proc", "nosuid noexec nodev"),
    ("/dev", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
    ("/dev/pts", "devpts", "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5"),
    ("/sys", "sysfs", "nosuid noexec nodev ro"),
    ("/sys/fs/cgroup", "cgroup", "nosuid noexec nodev relatime ro"),
    ("/dev/mqueue", "mqueue", "nosuid noexec nodev"),
    ("/dev/shm", "tmpfs", "nosuid noexec nodev mode=1777 size=65536k"),
)
MASKED = (
    "/proc/asound /proc/acpi /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats "
    "/proc/timer_list /proc/timer_stats /proc/sched_debug /proc/scsi /sys/firmware "
    "/sys/devices/virtual/powercap"
).split()
READONLY = "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger".split()


def seccomp() -> dict[str, object]:
    profile = json.loads(PROFILE.read_text())
    return {
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile.get("defaultErrnoRet", 1),
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [
            {key: rule[key] for key in ("names", "action", "args", "errnoRet") if rule.get(key)}
            for rule in profile["syscalls"]
            if applies(rule.get("includes") or {}, rule.get("excludes") or {})
        ],
    }


def applies(includes: dict[str, list[str]], excludes: dict[str, list[str]]) -> bool:
    held = set(CAPABILITIES)
    machine = {"amd64", "x86", "x32"}
    return (
        set(includes.get("caps") or []) <= held
        and not set(excludes.get("caps") or []) & held
        and (not includes.get("arches") or bool(machine & set(includes["arches"])))
        and not machine & set(excludes.get("arches") or [])
    )


def config(rootfs: Path, *, filtered: bool) -> dict[str, object]:
    linux: dict[str, object] = {
        "namespaces": [
            {"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")
        ],
        "maskedPaths": MASKED,
        "readonlyPaths": READONLY,
    }
    if filtered:
        linux["seccomp"] = seccomp()
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/true"],
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
            "noNewPrivileges": False,
        },
        "root": {"path": str(rootfs), "readonly": False},
        "hostname": "bench",
        "mounts": [
            {"destination": target, "type": kind, "source": kind, "options": options.split()}
            for target, kind, options in MOUNTS
        ],
        "linux": linux,
    }


def write(directory: Path, rootfs: Path, *, filtered: bool = False) -> Path:
    if filtered and not PROFILE.exists():
        raise Unavailable(f"no {PROFILE} (apt install golang-github-containers-common)")
    (directory / "config.json").write_text(json.dumps(config(rootfs, filtered=filtered)))
    return directory
