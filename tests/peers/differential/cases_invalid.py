"""Bundles that no runtime may start: the wrong type, the wrong value, what is missing.

Ours names the place in the config, as a JSON pointer.
"""

from __future__ import annotations

from typing import Any

from differential.bundles import at, case, process, without

#: A place, dotted, and what cannot stand there.
WRONG: dict[str, tuple[Any, ...]] = {
    "ociVersion": (1, ["1.0.2"]),
    "process": ("sh", []),
    "process.args": ("view", {}, [1], [["/view"]]),
    "process.env": ("A=b", [1]),
    "process.cwd": (1, []),
    "process.terminal": ("yes", 1),
    "process.noNewPrivileges": ("yes", 1),
    "process.oomScoreAdj": ("5", 1.5),
    "process.user": ("root", 0),
    "process.user.uid": ("0", 1.5, -1),
    "process.user.gid": ("0", -1),
    "process.user.umask": ("022", -1),
    "process.user.additionalGids": (5, ["5"], [-1]),
    "process.capabilities": (["CAP_KILL"], "CAP_KILL"),
    "process.capabilities.bounding": ("CAP_KILL", [1]),
    "process.rlimits": ({}, ["RLIMIT_CPU"]),
    "root": ("rootfs", []),
    "root.path": (1, []),
    "root.readonly": ("true", 1),
    "hostname": (1, ["name"]),
    "mounts": ({}, ["/proc"]),
    "mounts.0.destination": (1, []),
    "mounts.0.type": (1, []),
    "mounts.0.source": (1, []),
    "mounts.0.options": ("ro", [1]),
    "annotations": ([], {"key": 1}),
    "linux": ([], "x"),
    "linux.namespaces": ({}, ["mount"]),
    "linux.namespaces.0.type": (1,),
    "linux.namespaces.0.path": (1,),
    "linux.uidMappings": ({}, [1]),
    "linux.devices": ({}, ["/dev/null"]),
    "linux.cgroupsPath": (1, []),
    "linux.resources": ([], "none"),
    "linux.resources.memory": ([], 1),
    "linux.resources.memory.limit": ("1G", 1.5),
    "linux.resources.cpu.shares": ("many", -1),
    "linux.resources.cpu.cpus": (1,),
    "linux.resources.pids.limit": ("some",),
    "linux.sysctl": ([], {"net.ipv4.ip_forward": 1}),
    "linux.seccomp": ([], "strict"),
    "linux.seccomp.defaultAction": (1,),
    "linux.maskedPaths": ("/proc", [1]),
    "linux.readonlyPaths": ("/proc", [1]),
    "linux.rootfsPropagation": (1, "sideways"),
    "hooks": ([], "x"),
    "hooks.prestart": ({}, ["/bin/true"]),
}
for place, values in WRONG.items():
    for number, value in enumerate(values):
        case(f"invalid-{place}-{number}", at(place, value), refused="/" + place.replace(".", "/"))

for place in ("ociVersion", "process", "process.args", "process.cwd", "root"):
    case(f"missing-{place}", without(place), refused="/" + place.replace(".", "/"))
case("missing-mount-destination", without("mounts.0.destination"), refused="/mounts/0/destination")
case("empty-args", process(args=[]), refused="/process/args")
case("empty-cwd", process(cwd=""), refused="/process/cwd")
case("empty-root-path", at("root.path", ""), refused="/root/path")
case("relative-cwd", process(cwd="full"), refused="/process/cwd")
case("version-of-another-major", at("ociVersion", "2.0.0"), refused="/ociVersion")
case("version-that-is-none", at("ociVersion", "newest"), refused="/ociVersion")
for version in ("1.0.0", "1.0.2-dev", "1.1.0", "1.2.1", "1.3.0"):
    case(f"version-{version}", at("ociVersion", version), expect={"outcome": "exit 0"})
LIMIT = {"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}
case(
    "rlimit-twice",
    process(rlimits=[LIMIT, LIMIT]),
    peer=None,  # runc 1.1 lets the last one be
    refused="/process/rlimits/1",
)
case(
    "rlimit-unknown",
    process(rlimits=[{**LIMIT, "type": "RLIMIT_FUN"}]),
    refused="/process/rlimits/0",
)
case(
    "rlimit-soft-above-hard", process(rlimits=[{**LIMIT, "soft": 30}]), refused="/process/rlimits/0"
)
