"""What is mounted at /sys/fs/cgroup, with and without a cgroup namespace of one's own.  Pure."""

from __future__ import annotations

from newroot.plan import steps as s
from newroot.rootfs.cgroup_mount import CgroupView, cgroup_mount_steps

MOUNT: dict[str, object] = {"destination": "/sys/fs/cgroup", "options": ["nosuid", "ro"]}
VIEW = CgroupView(
    v1=(("cpu", "cpuacct"), ("name=systemd",)),
    directories=("/sys/fs/cgroup/cpu/pod/a", "/sys/fs/cgroup/systemd/pod/a"),
)


def test_hierarchies_are_mounted_in_a_cgroup_namespace_of_ones_own() -> None:
    steps = cgroup_mount_steps(MOUNT, "", VIEW, own_namespace=True)

    assert not [step for step in steps if isinstance(step, s.BindMount)]
    assert [step.type for step in steps if isinstance(step, s.MountFs)] == [
        *("tmpfs", "cgroup", "cgroup"),
    ]


def test_without_one_the_containers_own_directories_are_bound_and_nothing_above_them() -> None:
    steps = cgroup_mount_steps(MOUNT, "", VIEW, own_namespace=False)
    binds = [step for step in steps if isinstance(step, s.BindMount)]

    assert [step.type for step in steps if isinstance(step, s.MountFs)] == ["tmpfs"]
    assert [(bind.source, bind.target) for bind in binds] == [
        ("/sys/fs/cgroup/cpu/pod/a", "/sys/fs/cgroup/cpu,cpuacct"),
        ("/sys/fs/cgroup/systemd/pod/a", "/sys/fs/cgroup/systemd"),
    ]
    assert all(set(bind.flags) == {"nosuid", "nodev", "noexec", "ro"} for bind in binds)
