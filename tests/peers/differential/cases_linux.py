"""Bundles that differ from the base in what is Linux's alone: config-linux.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from differential.bundles import (
    Change,
    at,
    case,
    linux,
    namespace,
    no_namespace,
    process,
    unmount,
    user_namespace,
    without,
)
from newroot.linux.syscall_tables import X86_64

# ── namespaces ───────────────────────────────────────────────────────────────────────────────

for kind in ("pid", "network", "ipc"):
    case(f"namespace-{kind}-of-the-host", no_namespace(kind))
case("namespace-uts-of-the-host", no_namespace("uts"), without("hostname"))
case("namespace-cgroup", namespace("cgroup"))
for kind, file in {"network": "net", "ipc": "ipc", "pid": "pid", "cgroup": "cgroup"}.items():
    case(f"namespace-{kind}-by-path", namespace(kind, f"/proc/self/ns/{file}"))
# runc 1.1 would mount on the host.
case("namespace-mount-missing", no_namespace("mount"), peer=None, refused="namespace")
case(
    "namespace-twice",
    at("linux.namespaces", [{"type": k} for k in ("mount", "pid", "pid", "uts")]),
    refused="/linux/namespaces",
)
case("namespace-unknown", namespace("space"), refused="/linux/namespaces")
case("namespace-path-not-there", namespace("network", "/proc/self/ns/nowhere"), refused="nowhere")
case("namespace-path-of-another-kind", namespace("network", "/proc/self/ns/uts"), refused="network")
case("namespace-path-a-file", namespace("network", "/etc/hostname"), refused="network")
case("namespace-time", namespace("time"), peer=None, expect={"namespace/time": "other"})
case(
    "time-offsets",
    namespace("time"),
    linux(timeOffsets={"monotonic": {"secs": 1000, "nanosecs": 5}, "boottime": {"secs": 2000}}),
    peer=None,
    expect={"timens_offsets": "monotonic        1000         5\nboottime         2000         0\n"},
)
case(
    "time-offsets-without-a-namespace",
    linux(timeOffsets={"monotonic": {"secs": 1}}),
    peer=None,
    refused="timeOffsets",
)

# ── user namespaces ──────────────────────────────────────────────────────────────────────────

case("user-namespace", user_namespace(), expect={"namespace/user": "other"})
case("user-namespace-that-changes-nothing", user_namespace(0))
case(
    "user-namespace-with-a-user",
    user_namespace(),
    process(user={"uid": 5, "gid": 6, "additionalGids": [7]}),
)
case("user-namespace-without-a-network", user_namespace(), no_namespace("network"), unmount("/sys"))
case(
    "user-namespace-of-two-ranges",
    user_namespace(),
    linux(
        uidMappings=[
            {"containerID": 0, "hostID": 5000, "size": 1},
            {"containerID": 1, "hostID": 9000, "size": 10},
        ],
        gidMappings=[{"containerID": 0, "hostID": 5000, "size": 100}],
    ),
)
case("user-namespace-without-mappings", namespace("user"), refused="Mappings")
case(
    "mappings-without-a-user-namespace",
    linux(uidMappings=[{"containerID": 0, "hostID": 1, "size": 1}]),
)

# ── devices ──────────────────────────────────────────────────────────────────────────────────


def devices(*entries: dict[str, Any]) -> Change:
    return linux(devices=list(entries))


NODE = {"type": "c", "major": 1, "minor": 5}
case("device", devices({"path": "/dev/own", **NODE}), probes="stat:/dev/own")
case(
    "device-mode-and-owner",
    devices({"path": "/dev/own", **NODE, "fileMode": 0o640, "uid": 5, "gid": 6}),
)
case(
    "device-mode-with-its-kind",
    devices({"path": "/dev/own", **NODE, "fileMode": 0o020640}),
    probes="stat:/dev/own",
)
case("device-mode-0", devices({"path": "/dev/own", **NODE, "fileMode": 0}))
case("device-unbuffered", devices({"path": "/dev/own", "type": "u", "major": 1, "minor": 7}))
case(
    "device-block",
    devices({"path": "/dev/block", "type": "b", "major": 7, "minor": 200, "fileMode": 0o600}),
)
case("device-fifo", devices({"path": "/dev/fifo", "type": "p", "fileMode": 0o666}))
case(
    "device-in-a-directory", devices({"path": "/dev/deep/er/own", **NODE}), probes="stat:/dev/deep"
)
case(
    "device-outside-dev",
    devices({"path": "/tmp/own", **NODE, "fileMode": 0o666}),
    probes="stat:/tmp/own",
)
case(
    "device-that-is-there-anyway",
    devices({"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600}),
)
case("device-several", devices({"path": "/dev/a", **NODE}, {"path": "/dev/b", **NODE}))
case(
    "device-of-no-type",
    devices({"path": "/dev/own", "major": 1, "minor": 5}),
    refused="/linux/devices/0",
)
case(
    "device-of-an-unknown-type",
    devices({"path": "/dev/own", "type": "x", "major": 1, "minor": 5}),
    refused="/linux/devices/0",
)
KMSG = {"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}
case("device-in-a-user-namespace", user_namespace(), devices(KMSG))

# ── sysctl ───────────────────────────────────────────────────────────────────────────────────

for key, value in {
    "net.ipv4.ip_default_ttl": "33",
    "net/ipv4/ip_forward": "1",
    "kernel.msgmax": "4321",
    "kernel.shm_rmid_forced": "1",
    "kernel.sem": "10 20 30 40",
    "fs.mqueue.msg_max": "7",
    "kernel.domainname": "example.net",
}.items():
    case(
        f"sysctl-{key.replace('/', '.')}{'-by-slashes' * ('/' in key)}",
        linux(sysctl={key: value}),
        probes=f"read:/proc/sys/{key.replace('.', '/')}",
    )
# As it is, for whoever does not refuse it changes the machine.
SWAPPINESS = Path("/proc/sys/vm/swappiness").read_text().strip()
case(
    "sysctl-not-a-namespace-s", linux(sysctl={"vm.swappiness": SWAPPINESS}), refused="vm.swappiness"
)
case("sysctl-not-there", linux(sysctl={"net.ipv4.novelty": "1"}), refused="net.ipv4.novelty")
case(
    "sysctl-a-wrong-value",
    linux(sysctl={"net.ipv4.ip_forward": "much"}),
    refused="net.ipv4.ip_forward",
)
case(
    "sysctl-of-the-host-s-network",
    no_namespace("network"),
    linux(sysctl={"net.ipv4.ip_forward": "1"}),
    refused="net.ipv4.ip_forward",
)
case(
    "sysctl-of-the-host-s-ipc",
    no_namespace("ipc"),
    linux(sysctl={"kernel.msgmax": "4321"}),
    refused="kernel.msgmax",
)
case(
    "sysctl-the-hostname", linux(sysctl={"kernel.hostname": "by-sysctl"}), refused="kernel.hostname"
)

# ── paths ────────────────────────────────────────────────────────────────────────────────────

case("masked-file", linux(maskedPaths=["/data"]), probes="stat:/data read:/data write:/data")
case(
    "masked-directory",
    linux(maskedPaths=["/full"]),
    probes="list:/full create:/full/new stat:/full",
)
case("masked-not-there", linux(maskedPaths=["/nowhere", "/full/nowhere"]))
case("masked-by-a-link", linux(maskedPaths=["/link"]), probes="list:/full")
case("masked-by-a-dangling-link", linux(maskedPaths=["/dangling"]))
case("masked-in-proc", linux(maskedPaths=["/proc/timer_list", "/proc/scsi", "/sys/firmware"]))
case("masked-twice", linux(maskedPaths=["/data", "/data", "/full", "/full/deep"]))
for word in ("masked", "readonly"):
    case(
        f"{word}-relative",
        linux(**{f"{word}Paths": ["/nowhere", "data"]}),
        peer=None,  # runc 1.1 takes it for absolute
        refused=f"/linux/{word}Paths/1",
    )
case("readonly-file", linux(readonlyPaths=["/data"]), probes="read:/data write:/data")
case(
    "readonly-directory",
    linux(readonlyPaths=["/full"]),
    probes="create:/full/new write:/full/deep/file",
)
case("readonly-not-there", linux(readonlyPaths=["/nowhere"]))
case("readonly-by-a-link", linux(readonlyPaths=["/link"]), probes="create:/full/new")
case(
    "readonly-in-proc",
    linux(readonlyPaths=["/proc/sys", "/proc/bus"]),
    probes="write:/proc/sys/kernel/msgmax",
)
case(
    "readonly-and-masked",
    linux(readonlyPaths=["/full"], maskedPaths=["/full/deep"]),
    probes="list:/full/deep",
)

# ── seccomp ──────────────────────────────────────────────────────────────────────────────────

GETPID, KILL, CHMOD, PERSONALITY, MKDIR = 39, 62, 90, 135, 83  # x86_64


def seccomp(*rules: dict[str, Any], default: str = "SCMP_ACT_ALLOW", **more: Any) -> Change:
    return linux(seccomp={"defaultAction": default, "syscalls": list(rules), **more})


def rule(names: str, action: str = "SCMP_ACT_ERRNO", **more: Any) -> dict[str, Any]:
    return {"names": names.split(), "action": action, **more}


TRY = f"sys:{GETPID} sys:{CHMOD} sys:{MKDIR}"
case("seccomp-nothing", seccomp(), probes=TRY)
case(
    "seccomp-errno",
    seccomp(rule("chmod mkdir")),
    probes=TRY,
    expect={f"probes/sys:{CHMOD}": "EPERM"},
)
case(
    "seccomp-errno-of-its-own",
    seccomp(rule("chmod", errnoRet=38)),
    probes=TRY,
    expect={f"probes/sys:{CHMOD}": "ENOSYS"},
)
case(
    "seccomp-errno-0",
    seccomp(rule("chmod", errnoRet=0)),
    probes=TRY,
    expect={f"probes/sys:{CHMOD}": "ok"},
)
case("seccomp-log", seccomp(rule("chmod", "SCMP_ACT_LOG")), probes=TRY)
case("seccomp-trace", seccomp(rule("chmod", "SCMP_ACT_TRACE", errnoRet=5)), probes=TRY)
for action in ("KILL", "KILL_THREAD", "KILL_PROCESS", "TRAP"):
    case(
        f"seccomp-{action.lower()}",
        seccomp(rule("getpriority", f"SCMP_ACT_{action}")),
        probes="last:140 exit:7",
    )
case("seccomp-a-name-nobody-knows", seccomp(rule("chmod novelty")), probes=TRY)
case(
    "seccomp-an-action-nobody-knows",
    seccomp(rule("chmod", "SCMP_ACT_SMILE")),
    refused="/linux/seccomp",
)
case(
    "seccomp-arguments",
    seccomp(
        rule("kill", args=[{"index": 1, "value": 20, "op": "SCMP_CMP_GE"}]),
        rule("chmod", args=[{"index": 1, "value": 7, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ"}]),
    ),
    probes=f"sys:{KILL}:1:0 sys:{KILL}:1:23 sys:{CHMOD}:0:1 sys:{CHMOD}:0:2",
)
case(
    "seccomp-architectures",
    seccomp(rule("chmod"), architectures=["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]),
    probes=TRY,
)
case(
    "seccomp-an-architecture-nobody-knows",
    seccomp(rule("chmod"), architectures=["SCMP_ARCH_PDP11"]),
    refused="/linux/seccomp",
)
case("seccomp-flag-log", seccomp(rule("chmod"), flags=["SECCOMP_FILTER_FLAG_LOG"]), probes=TRY)
case(
    "seccomp-flag-spec-allow",
    seccomp(rule("chmod"), flags=["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]),
    probes=TRY,
)
case(
    "seccomp-with-new-privileges",
    seccomp(rule("chmod")),
    process(noNewPrivileges=False),
    probes=TRY,
)
case("seccomp-of-a-user", seccomp(rule("chmod")), process(user={"uid": 5, "gid": 5}), probes=TRY)

# ── the rest ─────────────────────────────────────────────────────────────────────────────────

case(
    "personality",
    linux(personality={"domain": "LINUX32"}),
    peer="crun",
    expect={"process/personality": "8"},
)
case(
    "personality-linux",
    linux(personality={"domain": "LINUX"}),
    peer="crun",
    expect={"process/personality": "0"},
)
case("mount-label-empty", linux(mountLabel=""))
case(
    "mount-label-where-there-is-none",
    linux(mountLabel="system_u:object_r:container_file_t:s0"),
    refused="/linux/mountLabel",
)
case(
    "memory-policy",
    linux(memoryPolicy={"mode": "MPOL_BIND", "nodes": "0"}),
    peer=None,
    expect={"process/mempolicy": "2", "process/mempolicy nodes": "1"},
)
case("cgroups-path-relative", linux(cgroupsPath="newroot-test-@PID@/relative"))
case("cgroups-path-absent", without("linux.cgroupsPath"))
case("cgroups-path-with-dots", linux(cgroupsPath="/newroot-test-@PID@/../newroot-test-@PID@/dots"))
case("device-where-a-file-stands", devices({"path": "/data", **NODE}), refused="/data (c 1:5): ")
case("device-where-a-link-stands", devices({"path": "/out", **NODE}), refused="/out (c 1:5): ")
case("device-where-another-stands", devices({"path": "/nodes/null", **NODE}), refused="/nodes/null")
case(
    "device-that-stands-there",
    devices({**NODE, "path": "/nodes/null", "minor": 3}),
    probes="stat:/nodes/null",
)
for member in ("major", "minor"):
    case(
        f"device-without-{member}",
        devices({key: value for key, value in NODE.items() if key != member} | {"path": "/dev/d"}),
        refused=f"/linux/devices/0/{member}",
    )
case("device-fifo-without-numbers", devices({"path": "/dev/d", "type": "p"}), probes="stat:/dev/d")
OTHERS = " ".join(word for word in X86_64.split() if word.isidentifier() and word != "chmod")
case(
    "seccomp-errno-by-default",
    seccomp(rule(OTHERS, "SCMP_ACT_ALLOW"), default="SCMP_ACT_ERRNO", defaultErrnoRet=38),
    probes=TRY,
    expect={f"probes/sys:{CHMOD}": "ENOSYS"},
)
case(
    "seccomp-errno-with-allow",
    seccomp(rule("chmod", "SCMP_ACT_ALLOW", errnoRet=5)),
    refused="/linux/seccomp/syscalls/0",
)
case("seccomp-without-names", seccomp(rule("")), refused="/linux/seccomp/syscalls/0")
case("intel-rdt-without-resctrl", linux(intelRdt={"closID": "some"}), refused="/linux/intelRdt")
case(
    "unified-of-a-controller-that-is-not-there",
    linux(resources={"unified": {"novelty.max": "1"}}),
    refused="/linux/resources/unified",
)
