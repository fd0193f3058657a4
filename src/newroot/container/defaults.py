"""What every container has unless somebody says otherwise: Docker's defaults, as OCI config.

Facts of moby's oci/defaults.go and runtime-spec.  Tables only; ``config.py`` puts them together.
"""

from __future__ import annotations

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

MASKED_PATHS = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)

READONLY_PATHS = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)


_DEV_SIZE = ("mode=755", "size=65536k")


def mounts(
    *, privileged: bool, ipc_is_host: bool, gid_5_is_mapped: bool
) -> list[dict[str, object]]:
    """The kernel's file systems in a container's root, in the order they are mounted in."""
    ro = [] if privileged else ["ro"]
    nodev = [] if privileged else ["nodev"]  # as on every mount: docs/decisions/0012
    tty_group = ["gid=5"] if gid_5_is_mapped else []
    pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", *tty_group]
    return [
        _mount("/proc", "proc", "proc", ["nosuid", "noexec", "nodev"]),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", *nodev, "strictatime", *_DEV_SIZE]),
        _mount("/dev/pts", "devpts", "devpts", pts),
        _mount("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev", *ro]),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid", "noexec", "nodev", *ro]),
        *_ipc_mounts(ipc_is_host),
    ]


def _ipc_mounts(ipc_is_host: bool) -> list[dict[str, object]]:
    if ipc_is_host:
        return [
            # It shows the queues of the IPC namespace it is mounted from, mq_overview(7); and the
            # host itself may have none mounted.
            _mount("/dev/mqueue", "mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
            _mount("/dev/shm", "bind", "/dev/shm", ["rbind", "nosuid", "noexec", "nodev"]),
        ]
    shm = ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]
    return [
        _mount("/dev/mqueue", "mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
        _mount("/dev/shm", "tmpfs", "shm", shm),
    ]


def _mount(target: str, type_: str, source: str, options: list[str]) -> dict[str, object]:
    return {"destination": target, "type": type_, "source": source, "options": options}
