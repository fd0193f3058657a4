"""Bundles that differ from the base in the process: config.md, "Process"."""

from __future__ import annotations

from differential.bundles import at, case, no_namespace, process, without

ALL_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")


# ── what is executed ─────────────────────────────────────────────────────────────────────────

case("base")
case("args-found-on-the-path-of-env", process(args=["view"]), expect={"outcome": "exit 0"})
case(
    "args-found-on-a-later-part-of-the-path", process(args=["view"], env=["PATH=/nowhere:/empty:/"])
)
case("args-relative-to-cwd", process(args=["./view"]), expect={"outcome": "exit 0"})
case("args-with-a-space-and-a-newline", process(args=["/view", "one two", "three\nfour", "", "ü"]))
case("args-a-script", process(args=["/script"]), expect={"outcome": "exit 0"})
case("args-a-script-of-nothing-that-can-run", process(args=["/data"]), refused="/data")
case("args-not-there", process(args=["/nowhere"]), refused="/nowhere")
case("args-not-on-the-path", process(args=["nowhere"]), refused="nowhere")
case("args-a-directory", process(args=["/full"]), refused="/full")
case("args-below-a-file", process(args=["/data/view"]), refused="/data/view")
case("args-without-a-path-in-env", process(args=["/view"], env=["A=b"]))
case("exit-code", probes="exit:42", expect={"outcome": "exit 42"})
case("exit-code-255", probes="exit:255", expect={"outcome": "exit 255"})

# ── environment ──────────────────────────────────────────────────────────────────────────────

case("env-absent", without("process.env"))
case("env-empty", process(env=[]))
case("env-with-spaces-and-unicode", process(env=["PATH=/", "A=b c = d", "U=ü€", "E=", "N=a\nb"]))
case("env-twice-the-same-name", process(env=["PATH=/", "A=1", "B=2", "A=3"]))
case("env-without-a-value", process(env=["PATH=/", "NAME"]), refused="/process/env/1")
case("env-without-a-name", process(env=["=x", "PATH=/"]), refused="/process/env/0")
case("env-home-is-kept", process(env=["PATH=/", "HOME=/elsewhere"]))
case("env-home-from-passwd-of-a-user", process(env=["PATH=/"], user={"uid": 1000, "gid": 1000}))
case("env-home-of-nobody-known", process(env=["PATH=/"], user={"uid": 4321, "gid": 1}))

# ── working directory ────────────────────────────────────────────────────────────────────────

case("cwd", process(cwd="/full/deep"), expect={"cwd": "/full/deep"})
case("cwd-by-a-link", process(cwd="/link/deep"))
case("cwd-by-an-absolute-link", process(cwd="/absolute"), expect={"cwd": "/full/deep"})
case("cwd-is-made", process(cwd="/made/for/it"), expect={"cwd": "/made/for/it"})
case("cwd-in-a-mount", process(cwd="/sys/kernel"))
case("cwd-that-only-its-user-may-enter", process(cwd="/full", user={"uid": 1000, "gid": 1000}))
case("cwd-a-file", process(cwd="/data"), refused="/data")

# ── user ─────────────────────────────────────────────────────────────────────────────────────

case(
    "user",
    process(user={"uid": 1000, "gid": 1001}),
    expect={"status/Uid": "1000\t1000\t1000\t1000"},
)
case("user-without-gid", process(user={"uid": 1000}))
case("user-with-a-high-id", process(user={"uid": 4_000_000_000, "gid": 4_000_000_001}))
case(
    "user-additional-gids",
    process(user={"uid": 7, "gid": 8, "additionalGids": [5, 20, 8, 5000]}),
    expect={"status/Groups": "5 8 20 5000"},
)
case("user-root-with-additional-gids", process(user={"uid": 0, "gid": 0, "additionalGids": [10]}))
case(
    "user-umask", process(user={"uid": 0, "gid": 0, "umask": 0o27}), expect={"status/Umask": "0027"}
)
case(
    "user-umask-0", process(user={"uid": 0, "gid": 0, "umask": 0}), expect={"status/Umask": "0000"}
)
case("user-umask-of-a-user", process(user={"uid": 9, "gid": 9, "umask": 0o77}))

# ── capabilities ─────────────────────────────────────────────────────────────────────────────

TWO = ["CAP_NET_RAW", "CAP_SETUID"]
case("capabilities-absent", without("process.capabilities"))
case("capabilities-empty", process(capabilities={}))
for name in ALL_SETS[:4]:
    case(f"capabilities-{name}-alone", process(capabilities={name: TWO}))
case("capabilities-all-sets", process(capabilities=dict.fromkeys(ALL_SETS, TWO)))
case(
    "capabilities-all-sets-of-a-user",
    process(capabilities=dict.fromkeys(ALL_SETS, TWO), user={"uid": 1000, "gid": 1000}),
    expect={"status/CapEff": "0000000000002080"},
)
case(
    "capabilities-of-a-user-without-ambient",
    process(capabilities=dict.fromkeys(ALL_SETS[:4], TWO), user={"uid": 1000, "gid": 1000}),
)
case(
    "capabilities-of-a-user-bounding-alone",
    process(capabilities={"bounding": TWO}, user={"uid": 1000, "gid": 1000}),
)
case(
    "capabilities-each-set-its-own",
    process(
        capabilities={
            "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_NET_RAW"],
            "permitted": ["CAP_KILL", "CAP_CHOWN"],
            "effective": ["CAP_KILL"],
            "inheritable": ["CAP_CHOWN"],
            "ambient": ["CAP_CHOWN"],
        }
    ),
)
case(
    "capabilities-with-new-privileges",
    process(capabilities=dict.fromkeys(ALL_SETS[:3], TWO), noNewPrivileges=False),
)
case(
    "capabilities-an-unknown-name", process(capabilities={name: ["CAP_NONE"] for name in ALL_SETS})
)

# ── the rest ─────────────────────────────────────────────────────────────────────────────────

case("no-new-privileges", process(noNewPrivileges=True), expect={"status/NoNewPrivs": "1"})
case("new-privileges", process(noNewPrivileges=False), expect={"status/NoNewPrivs": "0"})
case("new-privileges-absent", without("process.noNewPrivileges"), expect={"status/NoNewPrivs": "0"})
for value in (0, 100, 1000):
    case(f"oom-score-{value}", process(oomScoreAdj=value), expect={"oom_score_adj": f"{value}\n"})
case("oom-score-too-high", process(oomScoreAdj=1001), refused="oomScoreAdj")

#: Lowered, for here nobody may raise them.
LIMITS = {
    "AS": (1 << 32, 1 << 33),
    "CORE": (0, 0),
    "CPU": (100, 200),
    "DATA": (1 << 32, 1 << 33),
    "FSIZE": (1 << 20, 1 << 21),
    "LOCKS": (10, 20),
    "MEMLOCK": (4096, 8192),
    "MSGQUEUE": (1000, 2000),
    "NICE": (0, 0),
    "NOFILE": (100, 200),
    "NPROC": (100, 200),
    "RSS": (1 << 30, 1 << 31),
    "RTPRIO": (0, 0),
    "RTTIME": (1000, 2000),
    "SIGPENDING": (10, 20),
    "STACK": (1 << 20, 1 << 21),
}
for name, (soft, hard) in LIMITS.items():
    case(
        f"rlimit-{name.lower()}",
        process(rlimits=[{"type": f"RLIMIT_{name}", "soft": soft, "hard": hard}]),
        expect={f"rlimits/{name}": f"{soft} {hard}"},
    )
case(
    "rlimits-several",
    process(
        rlimits=[
            {"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64},
            {"type": "RLIMIT_CPU", "soft": 9, "hard": 18446744073709551615},
        ]
    ),
)
case("console-size-without-a-terminal", process(consoleSize={"height": 40, "width": 90}))
case("apparmor-profile-empty", process(apparmorProfile=""))
case("selinux-label-empty", process(selinuxLabel=""))
case("command-line-of-windows", process(commandLine="ignored"))
case(
    "unknown-properties", at("process.novelty", {"a": 1}), at("novelty", [1]), at("linux.new", "x")
)
case("annotations", at("annotations", {"org.example.key": "value", "empty": ""}))
case("hostname", at("hostname", "a-name.of.its-own"), expect={"hostname": "a-name.of.its-own"})
case("hostname-absent", without("hostname"))
case("hostname-without-a-namespace", no_namespace("uts"), refused="hostname")
case(
    "domainname", at("domainname", "example.org"), peer="crun", expect={"domainname": "example.org"}
)

# What Debian's runtimes are too old for: runtime-spec 1.1 to 1.3.
case(
    "io-priority",
    process(ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 6}),
    peer=None,
    expect={"scheduling/ioprio": str(2 << 13 | 6)},
)
case(
    "io-priority-idle",
    process(ioPriority={"class": "IOPRIO_CLASS_IDLE"}),
    peer=None,
    expect={"scheduling/ioprio": str(3 << 13)},
)
case(
    "scheduler-batch",
    process(scheduler={"policy": "SCHED_BATCH", "nice": 5}),
    peer=None,
    expect={"scheduling/policy": "3", "scheduling/nice": "5"},
)
case(
    "scheduler-idle",
    process(scheduler={"policy": "SCHED_IDLE"}),
    peer=None,
    expect={"scheduling/policy": "5"},
)
case(
    "scheduler-reset-on-fork",
    process(scheduler={"policy": "SCHED_OTHER", "nice": 3, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}),
    peer=None,
    expect={"scheduling/flags": "1", "scheduling/nice": "3"},
)
case(
    "exec-cpu-affinity-is-for-exec-alone",
    process(execCPUAffinity={"initial": "0", "final": "0"}),
    peer=None,
    expect={"outcome": "exit 0"},
)

# Neither is in this kernel, or nobody has it switched on.
case(
    "apparmor-where-there-is-none",
    process(apparmorProfile="a-profile-that-nobody-has"),
    refused="apparmor",
)
case(
    "selinux-where-there-is-none",
    process(selinuxLabel="system_u:system_r:container_t:s0"),
    refused="selinux",
)
