"""The same profile by libseccomp, as runc gives it to it: both filters must say the same.

libseccomp 2.5.4 contradicts its own manual where rules overlap (several conditions on an argument
of one system call) and where 32- and 64-bit architectures share conditions; there we go by the
manual (tests/unit/isolation/test_seccomp.py), and here by profiles without, and by real ones.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import random
from pathlib import Path

import pytest

from newroot.isolation import seccomp
from newroot.isolation.seccomp_default import default_profile, load_profile
from newroot.linux import syscalls
from newroot.linux.capabilities import DOCKER_DEFAULT, NAMES
from newroot.linux.constants import AUDIT_ARCH_I386, AUDIT_ARCH_X86_64
from newroot.testing.seccomp import run_filter

try:
    library = ctypes.CDLL("libseccomp.so.2")
except OSError:
    pytest.skip("needs libseccomp2", allow_module_level=True)
if syscalls.native_arch() != "x86_64":
    pytest.skip("compares on x86_64", allow_module_level=True)

library.seccomp_init.restype = ctypes.c_void_p
PODMANS = Path("/usr/share/containers/seccomp.json")
OPERATORS = ["", *seccomp.OPERATORS]
TOKENS = {"SCMP_ARCH_X86_64": 0xC000003E, "SCMP_ARCH_X86": 0x40000003, "SCMP_ARCH_X32": 0x4000003E}
ABIS = {"x86_64": AUDIT_ARCH_X86_64, "i386": AUDIT_ARCH_I386, "x32": AUDIT_ARCH_X86_64}
TOKEN = {
    abi: ctypes.c_uint32(TOKENS[name]) for name, abi in seccomp.ARCHES.items() if name in TOKENS
}
ENOSYS = 0x50026


class Comparison(ctypes.Structure):
    _fields_ = [
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    ]


def theirs(config):
    """The filter that libseccomp makes of an OCI profile, called as runc calls it."""
    default = seccomp._default_action(config, "")
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(default)))
    try:
        for name in config.get("architectures", ()):
            assert library.seccomp_arch_add(context, ctypes.c_uint32(TOKENS[name])) in (0, -17)
        for rule in config["syscalls"]:
            value = seccomp._action(rule, "action", "errnoRet", "")
            if value == default:
                continue
            for name in rule["names"]:
                number = library.seccomp_syscall_resolve_name(name.encode())
                if number == -1:
                    continue
                conditions = [
                    Comparison(
                        a["index"], OPERATORS.index(a["op"]), a["value"], a.get("valueTwo", 0)
                    )
                    for a in rule.get("args", ())
                ]
                array = (Comparison * max(1, len(conditions)))(*conditions)
                added = library.seccomp_rule_add_array(
                    context, ctypes.c_uint32(value), number, len(conditions), array
                )
                assert added == 0, (name, added)
        fd = os.memfd_create("filter")
        try:
            assert library.seccomp_export_bpf(context, fd) == 0
            return os.pread(fd, os.fstat(fd).st_size, 0)
        finally:
            os.close(fd)
    finally:
        library.seccomp_release(context)


def with_stub(config, abi, number, value):
    """runc's stub in front: what is younger than the profile is ENOSYS (patchbpf)."""
    default = seccomp._default_action(config, "") & 0xFFFF0000
    listed = {"x86_64", *(seccomp.ARCHES[each] for each in config.get("architectures", ()))}
    if abi not in listed or default in seccomp._PERMISSIVE:
        return value
    table = known(abi)
    newest = max((table.get(n, 0) for r in config["syscalls"] for n in r["names"]), default=0)
    return ENOSYS if 0 < newest < number else value


@functools.cache
def known(abi):
    """The calls that this libseccomp knows too; the younger ones it cannot be asked about."""
    table = syscalls.table(abi)
    return {
        name: number
        for name, number in table.items()
        if library.seccomp_syscall_resolve_name_arch(TOKEN[abi], name.encode()) >= 0
    }


@pytest.mark.parametrize("caps", [(), DOCKER_DEFAULT, (*DOCKER_DEFAULT, "CAP_SYS_ADMIN"), NAMES])
@pytest.mark.parametrize("source", ["docker", "podman"])
def test_real_profiles_say_the_same_by_libseccomp(source, caps):
    if source == "docker":
        config = default_profile(caps, "x86_64")
    elif PODMANS.exists():
        config = load_profile(PODMANS.read_bytes(), caps, "x86_64")
    else:
        pytest.skip("needs golang-github-containers-common")
    # What this libseccomp does not know would be young to it, and is known to us.
    names = {name for abi in ABIS for name in known(abi)}
    rules = [
        {**rule, "names": [name for name in rule["names"] if name in names]}
        for rule in config["syscalls"]
    ]
    config = {**config, "syscalls": [rule for rule in rules if rule["names"]]}
    other = theirs(json.loads(json.dumps(config)))
    ours, _ = seccomp.compile_filter(config, arch="x86_64")
    checked = 0
    for abi, audit_arch in ABIS.items():
        for name, number in {**known(abi), "nobody's": max(known(abi).values()) + 50}.items():
            for args in ((0,), (1,), (17,), (38,), (40,), (0x10000000,), (2**32 - 1,), (8, 8)):
                expected = run_filter(other, audit_arch, number, args)
                expected = with_stub(config, abi, number, expected)
                if expected == ENOSYS == run_filter(ours, audit_arch, number, args):
                    continue
                checked += 1

                assert run_filter(ours, audit_arch, number, args) == expected, (abi, name, args)
    assert checked > 5000


VALUES = [0, 1, 2, 7, 8, 40, 0x7E020000, 2**32 - 1, 2**32, 2**32 + 1, 2**63, 2**64 - 1]
CALLS = (
    "read write socket clone personality semop shmat openat kill ioctl accept4 mmap2 nope".split()
)


def random_profile(random):
    """Rules of which no two speak of one call, and no condition repeats an argument."""
    left = random.sample(CALLS, len(CALLS))
    rules = []
    while left:
        rule = {
            "names": [left.pop() for _ in range(min(len(left), random.randint(1, 3)))],
            "action": random.choice(
                ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_TRACE"]
            ),
        }
        if random.random() < 0.7:
            rule["args"] = [
                {
                    "index": index,
                    "op": random.choice(seccomp.OPERATORS),
                    "value": random.choice(VALUES),
                    "valueTwo": random.choice(VALUES),
                }
                for index in random.sample(range(3), random.randint(1, 3))
            ]
        rules.append(rule)
    default = random.choice(["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_ERRNO", "SCMP_ACT_TRAP"])
    return {"defaultAction": default, "syscalls": rules[: random.randint(1, len(rules))]}


@pytest.mark.parametrize("seed", range(40))
def test_random_profiles_say_the_same_by_libseccomp(seed):
    source = random.Random(seed)
    config = random_profile(source)
    other = theirs(config)
    ours, _ = seccomp.compile_filter(config, arch="x86_64")
    table = syscalls.table("x86_64")
    for number in {*(table[name] for name in CALLS if name in table), 0, 5, 500, 0xFFFFFFFF}:
        for _ in range(40):
            args = [source.choice(VALUES) for _ in range(3)]
            expected = run_filter(other, AUDIT_ARCH_X86_64, number, args)
            if number < 0x40000000:
                expected = with_stub(config, "x86_64", number, expected)

            assert run_filter(ours, AUDIT_ARCH_X86_64, number, args) == expected, (number, args)
