"""The compiler of filters: beside a reading of the profile in a dozen lines of Python."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.errors import SpecError
from newroot.isolation import seccomp
from newroot.isolation.seccomp import compile_filter
from newroot.linux import syscalls
from newroot.linux.constants import (
    AUDIT_ARCH_AARCH64,
    AUDIT_ARCH_ARM,
    AUDIT_ARCH_I386,
    AUDIT_ARCH_X86_64,
    SECCOMP_RET_ALLOW,
    SECCOMP_RET_ERRNO,
    SECCOMP_RET_KILL_PROCESS,
    SECCOMP_RET_KILL_THREAD,
    SECCOMP_RET_LOG,
    SECCOMP_RET_TRACE,
    SECCOMP_RET_TRAP,
    SECCOMP_RET_USER_NOTIF,
)
from newroot.testing.seccomp import instructions, run_filter, walk_filter

EPERM, ENOSYS = SECCOMP_RET_ERRNO | 1, SECCOMP_RET_ERRNO | 38
X86_64 = "SCMP_ARCH_X86_64"
ALL_X86 = [X86_64, "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
AUDIT = {
    "x86_64": AUDIT_ARCH_X86_64,
    "x32": AUDIT_ARCH_X86_64,
    "i386": AUDIT_ARCH_I386,
    "aarch64": AUDIT_ARCH_AARCH64,
    "arm": AUDIT_ARCH_ARM,
}


def profile(*rules, default="SCMP_ACT_ERRNO", architectures=ALL_X86, **more):
    return {
        "defaultAction": default,
        "architectures": architectures,
        "syscalls": list(rules),
        **more,
    }


def rule(names, action="SCMP_ACT_ALLOW", *args, **more):
    found = {"names": names.split(), "action": action, **more}
    return {**found, "args": list(args)} if args else found


def arg(op, value, two=None, index=0):
    found = {"index": index, "op": f"SCMP_CMP_{op}", "value": value}
    return found if two is None else {**found, "valueTwo": two}


def answer(config, name, *args, abi="x86_64", arch="x86_64"):
    """What the filter answers to a system call, by name or number."""
    number = syscalls.table(abi)[name] if isinstance(name, str) else name
    return run_filter(compile_filter(config, arch=arch)[0], AUDIT[abi], number, args)


# --- actions and precedence -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "more", "value"),
    [
        ("SCMP_ACT_KILL", {}, SECCOMP_RET_KILL_THREAD),
        ("SCMP_ACT_KILL_THREAD", {}, SECCOMP_RET_KILL_THREAD),
        ("SCMP_ACT_KILL_PROCESS", {}, SECCOMP_RET_KILL_PROCESS),
        ("SCMP_ACT_TRAP", {}, SECCOMP_RET_TRAP),
        ("SCMP_ACT_ERRNO", {}, EPERM),
        ("SCMP_ACT_ERRNO", {"errnoRet": 0}, SECCOMP_RET_ERRNO),
        ("SCMP_ACT_ERRNO", {"errnoRet": 38}, ENOSYS),
        ("SCMP_ACT_TRACE", {"errnoRet": 77}, SECCOMP_RET_TRACE | 77),
        ("SCMP_ACT_LOG", {}, SECCOMP_RET_LOG),
        ("SCMP_ACT_ALLOW", {}, SECCOMP_RET_ALLOW),
        ("SCMP_ACT_NOTIFY", {}, SECCOMP_RET_USER_NOTIF),
    ],
)
def test_every_action_is_answered_as_the_kernel_wants_it(action, more, value):
    config = profile(rule("getpid", action, **more), default="SCMP_ACT_KILL_PROCESS")

    assert answer(config, "getpid") == value


def test_default_answers_what_no_rule_speaks_of():
    config = profile(rule("mount"), default="SCMP_ACT_ERRNO", defaultErrnoRet=13)

    assert answer(config, "getpid") == SECCOMP_RET_ERRNO | 13


def test_first_rule_without_conditions_stands():
    config = profile(rule("getpid", "SCMP_ACT_LOG"), rule("getpid"), rule("mount"))

    assert answer(config, "getpid") == SECCOMP_RET_LOG


def test_rule_without_conditions_beats_those_with_some_wherever_it_stands():
    config = profile(rule("kill", "SCMP_ACT_TRAP", arg("EQ", 1)), rule("kill"), rule("mount"))

    assert answer(config, "kill", 1) == SECCOMP_RET_ALLOW


def test_rule_with_the_default_action_is_as_if_it_were_not_there():
    config = profile(rule("kill", "SCMP_ACT_ERRNO"), rule("kill", "SCMP_ACT_ALLOW", arg("EQ", 1)))

    assert answer(config, "kill", 1) == SECCOMP_RET_ALLOW
    assert answer(config, "kill", 2) == EPERM


def test_first_condition_that_holds_decides():
    config = profile(
        rule("kill", "SCMP_ACT_LOG", arg("GT", 10)), rule("kill", "SCMP_ACT_ALLOW", arg("GT", 5))
    )

    assert [answer(config, "kill", n) for n in (11, 6, 5)] == [
        SECCOMP_RET_LOG,
        SECCOMP_RET_ALLOW,
        EPERM,
    ]


def test_conditions_of_one_rule_must_all_hold():
    config = profile(rule("kill", "SCMP_ACT_ALLOW", arg("EQ", 1), arg("EQ", 2, index=1)))

    assert answer(config, "kill", 1, 2) == SECCOMP_RET_ALLOW
    assert answer(config, "kill", 1, 3) == EPERM


def test_two_conditions_on_one_argument_each_stand_for_themselves_as_in_runc():
    config = profile(rule("kill", "SCMP_ACT_ALLOW", arg("EQ", 1), arg("EQ", 7)))

    assert [answer(config, "kill", n) for n in (1, 7, 2)] == [
        SECCOMP_RET_ALLOW,
        SECCOMP_RET_ALLOW,
        EPERM,
    ]


def test_names_that_nobody_knows_are_passed_over():
    config = profile(rule("getpid no_such_call mount"), rule("not_this_either"))

    assert answer(config, "getpid") == SECCOMP_RET_ALLOW


# --- architectures --------------------------------------------------------------------------------


def test_architecture_that_is_not_listed_kills():
    config = profile(rule("getpid mount"), architectures=[X86_64])

    assert answer(config, "getpid", abi="i386") == SECCOMP_RET_KILL_THREAD
    assert answer(config, "getpid", abi="x32") == SECCOMP_RET_KILL_THREAD
    assert answer(config, "getpid", abi="aarch64") == SECCOMP_RET_KILL_THREAD


def test_machines_own_architecture_is_always_listed():
    assert answer(profile(rule("getpid mount"), architectures=[]), "getpid") == SECCOMP_RET_ALLOW


def test_call_that_a_tracer_skipped_is_answered_by_the_default():
    config = profile(rule("getpid mount"), architectures=[X86_64], default="SCMP_ACT_TRAP")

    assert answer(config, 0xFFFFFFFF) == SECCOMP_RET_TRAP


def test_each_architecture_has_its_own_numbers():
    config = profile(rule("getpid mount"))
    for abi in ("x86_64", "i386", "x32"):
        assert answer(config, "getpid", abi=abi) == SECCOMP_RET_ALLOW
        assert answer(config, "close", abi=abi) == EPERM


def test_arm_programs_run_on_aarch64_when_listed():
    config = profile(rule("getpid mount"), architectures=["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"])
    for abi in ("aarch64", "arm"):
        assert answer(config, "getpid", abi=abi, arch="aarch64") == SECCOMP_RET_ALLOW


def test_architectures_of_other_machines_change_nothing():
    others = [*ALL_X86, "SCMP_ARCH_S390X", "SCMP_ARCH_RISCV64", "SCMP_ARCH_AARCH64"]

    assert compile_filter(profile(rule("getpid")), arch="x86_64") == compile_filter(
        profile(rule("getpid"), architectures=others), arch="x86_64"
    )


def test_i386_is_compared_by_the_low_half_as_in_libseccomp():
    config = profile(rule("kill", "SCMP_ACT_ALLOW", arg("EQ", 2**64 - 1)))

    assert answer(config, "kill", 0xFFFFFFFF, abi="i386") == SECCOMP_RET_ALLOW
    assert answer(config, "kill", 0xFFFFFFFF) == EPERM
    assert answer(config, "kill", 2**64 - 1) == SECCOMP_RET_ALLOW


def test_denied_socket_calls_are_denied_through_socketcall_too():
    config = profile(
        rule("socket", "SCMP_ACT_ERRNO", arg("EQ", 40)),
        rule("semop", "SCMP_ACT_TRAP"),
        default="SCMP_ACT_ALLOW",
    )

    assert answer(config, "socketcall", 1, abi="i386") == EPERM
    assert answer(config, "socketcall", 2, abi="i386") == SECCOMP_RET_ALLOW
    assert answer(config, "ipc", 1, abi="i386") == SECCOMP_RET_TRAP


def test_socket_call_allowed_on_a_condition_does_not_open_socketcall():
    config = profile(rule("socket", "SCMP_ACT_ALLOW", arg("EQ", 1)), rule("bind mount"))

    assert answer(config, "socketcall", 1, abi="i386") == EPERM
    assert answer(config, "socketcall", 2, abi="i386") == SECCOMP_RET_ALLOW


# --- younger than the profile ---------------------------------------------------------------------


def test_call_younger_than_the_profile_is_enosys():
    config = profile(rule("getpid openat2"))

    assert answer(config, "openat2") == SECCOMP_RET_ALLOW
    assert answer(config, "faccessat2") == ENOSYS
    assert answer(config, "faccessat2", abi="i386") == ENOSYS
    assert answer(config, "pidfd_open") == EPERM


@pytest.mark.parametrize("default", ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"])
def test_permissive_default_speaks_for_the_young_too(default):
    config = profile(rule("getpid", "SCMP_ACT_KILL"), default=default)

    assert answer(config, "openat2") & 0xFFFF0000 == seccomp.ACTIONS[default]


# --- flags ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "flags"),
    [
        ({}, 4),
        ({"flags": []}, 0),
        ({"flags": ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG"]}, 3),
        ({"flags": ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]}, 4),
    ],
)
def test_flags_are_those_asked_for(more, flags):
    assert compile_filter(profile(rule("getpid"), **more))[1] == flags


def test_rule_that_notifies_wants_a_listener():
    notify = rule("mount", "SCMP_ACT_NOTIFY")

    assert compile_filter(profile(notify))[1] == 4 | 8
    assert compile_filter(profile(notify, flags=["SECCOMP_FILTER_FLAG_TSYNC"]))[1] == 1 | 8 | 16
    assert (
        compile_filter(profile(notify, flags=["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]))[1]
        == 8 | 32
    )


# --- what a profile may not say -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "pointer"),
    [
        ({}, "defaultAction"),
        ({"defaultAction": "ALLOW"}, "defaultAction"),
        ({"defaultAction": ["x"]}, "defaultAction"),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "defaultAction"),
        (profile(default="SCMP_ACT_ALLOW", defaultErrnoRet=1), "defaultErrnoRet"),
        (profile(defaultErrnoRet=4096), "defaultErrnoRet"),
        (profile(defaultErrnoRet=True), "defaultErrnoRet"),
        (profile(architectures=["amd64"]), "architectures/0"),
        (profile(architectures="x"), "architectures"),
        (profile(architectures=[X86_64, {}]), "architectures/1"),
        (profile(flags=["TSYNC"]), "flags/0"),
        (profile(flags=["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]), "flags/0"),
        (profile("x"), "syscalls/0"),
        (profile({"action": "SCMP_ACT_ALLOW"}), "syscalls/0/names"),
        (profile({"names": [""], "action": "SCMP_ACT_ALLOW"}), "syscalls/0/names/0"),
        (profile({"names": ["read", 1], "action": "SCMP_ACT_ALLOW"}), "syscalls/0/names/1"),
        (profile(rule("read"), rule("read", "x")), "syscalls/1/action"),
        (profile(rule("read write", "SCMP_ACT_NOTIFY")), "syscalls/0/names/1"),
        (profile(rule("read", errnoRet=1)), "syscalls/0/errnoRet"),
        (profile(rule("read", "SCMP_ACT_ALLOW", 5)), "syscalls/0/args/0"),
        (profile(rule("read", "SCMP_ACT_ALLOW", arg("XX", 1))), "syscalls/0/args/0/op"),
        (profile(rule("read", "SCMP_ACT_ALLOW", arg("EQ", 1, index=6))), "syscalls/0/args/0/index"),
        (profile(rule("read", "SCMP_ACT_ALLOW", arg("EQ", -1))), "syscalls/0/args/0/value"),
        (profile(rule("read", "SCMP_ACT_ALLOW", arg("EQ", 2**64))), "syscalls/0/args/0/value"),
        (profile(rule("read", "SCMP_ACT_ALLOW", arg("EQ", 1, "x"))), "syscalls/0/args/0/valueTwo"),
    ],
)
def test_what_a_profile_may_not_say_is_refused_with_its_place(config, pointer):
    with pytest.raises(SpecError) as caught:
        compile_filter(config)

    assert caught.value.pointer == f"/linux/seccomp/{pointer}"


def test_profile_too_long_for_the_kernel_is_refused_with_the_number():
    many = [rule("kill", "SCMP_ACT_ALLOW", arg("GT", n), arg("NE", n, index=1)) for n in range(999)]
    with pytest.raises(SpecError, match=r"needs \d+ instructions, and the kernel takes 4096") as e:
        compile_filter(profile(*many), arch="x86_64")

    assert e.value.pointer == "/linux/seccomp/syscalls"


# --- the program ----------------------------------------------------------------------------------


def test_same_profile_gives_the_same_bytes():
    config = profile(rule("getpid kill"), rule("mount", "SCMP_ACT_LOG", arg("NE", 2**40)))

    assert compile_filter(config, arch="x86_64") == compile_filter(config, arch="x86_64")


def test_filter_of_many_scattered_calls_is_short_to_walk():
    names = list(syscalls.table("x86_64"))[::2]
    program, _ = compile_filter(profile(rule(" ".join(names))), arch="x86_64")
    longest = max(walk_filter(program, AUDIT_ARCH_X86_64, nr)[1] for nr in range(500))

    assert len(instructions(program)) > 600
    assert longest <= 16


def test_distant_jumps_find_their_way():
    """One condition's failure is more than 255 instructions away from another's."""
    many = [rule("kill", "SCMP_ACT_ALLOW", arg("GT", 2**33 - n)) for n in range(400)]
    config = profile(*many, rule("mount", "SCMP_ACT_LOG"), architectures=[X86_64])

    assert answer(config, "kill", 2**33 - 399) == EPERM
    assert answer(config, "kill", 2**33 - 398) == SECCOMP_RET_ALLOW
    assert answer(config, "mount") == SECCOMP_RET_LOG


VALUES = st.sampled_from(
    [0, 1, 2, 7, 40, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 0x7E020000, 2**63, 2**64 - 1]
) | st.integers(0, 2**64 - 1)
NAMES = "read kill socket semop clone openat2 listns no_such_call mmap2 personality".split()
ACTIONS = st.sampled_from(sorted(set(seccomp.ACTIONS) - {"SCMP_ACT_NOTIFY"}))
ARGS = st.builds(
    arg,
    st.sampled_from([op.removeprefix("SCMP_CMP_") for op in seccomp.OPERATORS]),
    VALUES,
    VALUES,
    st.integers(0, 3),
)
RULES = st.builds(
    lambda names, action, args: rule(" ".join(names), action, *args),
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=4),
    ACTIONS,
    st.lists(ARGS, max_size=3),
)
PROFILES = st.builds(
    lambda rules, default, arches: profile(*rules, default=default, architectures=arches),
    st.lists(RULES, max_size=6),
    ACTIONS,
    st.lists(st.sampled_from(ALL_X86), unique=True),
)

COMPARE = {
    "NE": lambda a, value, _: a != value,
    "LT": lambda a, value, _: a < value,
    "LE": lambda a, value, _: a <= value,
    "EQ": lambda a, value, _: a == value,
    "GE": lambda a, value, _: a >= value,
    "GT": lambda a, value, _: a > value,
    "MASKED_EQ": lambda a, mask, value: a & mask == value & mask,
}


def meaning(config, abi, name, args):
    """What a profile says of a system call, read slowly."""
    bits = 2**64 - 1 if abi == "x86_64" else 2**32 - 1
    default = seccomp._default_action(config, "")

    def holds(each):
        compare = COMPARE[each["op"].removeprefix("SCMP_CMP_")]
        value, two = each["value"] & bits, each["valueTwo"] & bits
        return compare(args[each["index"]] & bits, value, two)

    speaking = [each for each in config["syscalls"] if name in each["names"]]
    values = [(seccomp._action(each, "action", "errnoRet", ""), each) for each in speaking]
    values = [(value, each) for value, each in values if value != default]
    for value, each in values:
        if not each.get("args"):
            return value
    for value, each in values:
        together = len({a["index"] for a in each["args"]}) == len(each["args"])
        if (all if together else any)(map(holds, each["args"])):
            return value
    return default


@given(
    PROFILES, st.sampled_from(["x86_64", "i386", "x32"]), st.lists(VALUES, min_size=6, max_size=6)
)
def test_filter_says_what_the_profile_means(config, abi, args):
    program, _ = compile_filter(config, arch="x86_64")
    listed = {"x86_64", *(seccomp.ARCHES[each] for each in config["architectures"])}
    table = syscalls.table(abi)
    for name in NAMES:
        if name not in table:
            continue
        expected = meaning(config, abi, name, args) if abi in listed else SECCOMP_RET_KILL_THREAD
        named = [table.get(each, 0) for r in config["syscalls"] for each in r["names"]]
        default = seccomp._default_action(config, "") & 0xFFFF0000
        strict = default not in (SECCOMP_RET_ALLOW, SECCOMP_RET_LOG, SECCOMP_RET_TRACE)
        if abi in listed and strict and 0 < max(named, default=0) < table[name]:
            expected = ENOSYS
        words = args if abi == "x86_64" else [each & 0xFFFFFFFF for each in args]

        assert run_filter(program, AUDIT[abi], table[name], words) == expected


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["defaultAction", "syscalls", "names", "args", "action", "op", "index", "flags"]
        ),
        inner | st.sampled_from(["SCMP_ACT_ALLOW", "SCMP_CMP_EQ", ["read"]]),
        max_size=4,
    ),
    max_leaves=12,
))  # fmt: skip
def test_any_object_compiles_or_is_refused_with_a_place(config):
    if not isinstance(config, dict):
        return
    pointer = "/linux/seccomp"
    try:
        compile_filter(config)
    except SpecError as error:
        pointer = error.pointer

    assert pointer.startswith("/linux/seccomp")
