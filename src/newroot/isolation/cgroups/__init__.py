"""A container's cgroup: where it lives, what its limits are in files, making and reading it.

    detect.py        which cgroup hierarchies this host has, and where we are in them
    resources.py     OCI ``linux.resources``, read with care; ``Write``, one file's new content
    resources_v1.py  resources -> writes for cgroup v1, pure
    resources_v2.py  resources -> writes for cgroup v2, pure
    devices.py       device rules, and their v1 lines, pure
    devices_v2.py    device rules -> an eBPF program (pure), and bpf(2) to attach it
    demand.py        resources -> what they come to on this host, each in its version, pure
    files.py         reading and writing cgroup files, and what the kernel's refusals mean
    members.py       the processes of a cgroup: list, freeze, kill, wait
    making.py        directories that can be joined: cpusets filled, controllers handed down
    removal.py       the directory and all below it, leaves first
    stats.py         what has been used
    oom.py           waiting for the kernel to kill for want of memory
    cgroup.py        Cgroup: create, update, kill, remove; and the leftovers of the dead

The usual road is ``host = detect()``, ``Cgroup.create(path, resources, host=host)``, and a plan
whose JoinCgroup steps write "0" to each of ``cgroup.procs_paths``.
"""
