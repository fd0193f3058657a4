"""The default profile: what Docker's containers may, fast, and in Docker's own format."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from newroot.errors import SpecError, UsageError
from newroot.isolation import seccomp_default, seccomp_docker
from newroot.isolation.seccomp import compile_filter
from newroot.isolation.seccomp_default import (
    CAPABILITIES,
    compiled_default,
    default_profile,
    from_docker,
    load_profile,
)
from newroot.linux import syscalls
from newroot.linux.capabilities import DOCKER_DEFAULT, NAMES
from newroot.linux.constants import AUDIT_ARCH_I386, AUDIT_ARCH_X86_64, SECCOMP_RET_ALLOW
from newroot.testing.seccomp import run_filter, walk_filter

ROOT = Path(__file__).parents[3]
CONTAINERS = Path("/usr/share/containers/seccomp.json")
EPERM, ENOSYS = 0x50001, 0x50026


def answer(program, name, *args):
    number = syscalls.table("x86_64")[name] if isinstance(name, str) else name
    return run_filter(program, AUDIT_ARCH_X86_64, number, args)


@pytest.fixture(scope="module")
def program():
    return compiled_default(DOCKER_DEFAULT, "x86_64")[0]


def test_ready_programs_are_what_a_fresh_compilation_gives():
    script = ROOT / "scripts/gen-seccomp-default"
    done = subprocess.run([sys.executable, script, "--check"], check=False)

    assert done.returncode == 0, "run scripts/gen-seccomp-default"


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
@pytest.mark.parametrize(
    "caps", [(), DOCKER_DEFAULT, (*DOCKER_DEFAULT, "CAP_SYS_ADMIN"), NAMES, ("CAP_BPF",)]
)
def test_compiled_default_is_the_default_profile_compiled(caps, arch):
    expected = compile_filter(default_profile(caps, arch), arch=arch)

    assert compiled_default(caps, arch) == expected


def test_default_container_loads_nothing_to_compile_with():
    code = (
        "import sys; from newroot.isolation.seccomp_default import compiled_default as f;"
        f"f({DOCKER_DEFAULT!r}, 'x86_64'); bad = {{'newroot.isolation.seccomp', 'json', 're'}};"
        "sys.exit(bool(bad & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env={"PYTHONPATH": str(ROOT / "src")}, check=False
    )

    assert done.returncode == 0


def test_capabilities_that_matter_are_those_that_the_profile_asks_for():
    asked = set(seccomp_docker.WITH_CAPABILITY)
    for rule in seccomp_docker.rules():
        for key in ("includes", "excludes"):
            asked |= set(rule.get(key, {}).get("caps", ()))

    assert asked == CAPABILITIES


def test_every_name_in_the_profile_is_a_system_call_somewhere():
    known = {name for arch in syscalls.ARCHES for name in syscalls.table(arch)}
    elsewhere = {
        "riscv_hwprobe", "riscv_flush_icache", "swapcontext",
        "s390_pci_mmio_read", "s390_pci_mmio_write", "s390_runtime_instr",
    }  # fmt: skip
    named = {name for rule in seccomp_docker.rules() for name in rule["names"]}

    assert named - known - elsewhere == set()


@pytest.mark.parametrize(
    ("name", "args", "value"),
    [
        ("read", (), SECCOMP_RET_ALLOW),
        ("mount", (), EPERM),
        ("unshare", (), EPERM),
        ("io_uring_setup", (), EPERM),
        ("keyctl", (), EPERM),
        ("chroot", (), SECCOMP_RET_ALLOW),
        ("ptrace", (), SECCOMP_RET_ALLOW),
        ("clone3", (), ENOSYS),
        ("clone", (17,), SECCOMP_RET_ALLOW),
        ("clone", (0x10000000,), EPERM),
        ("clone", (0x80,), SECCOMP_RET_ALLOW),
        ("personality", (0,), SECCOMP_RET_ALLOW),
        ("personality", (0x40000,), EPERM),
        ("personality", (0xFFFFFFFF,), SECCOMP_RET_ALLOW),
        ("socket", (1,), SECCOMP_RET_ALLOW),
        ("socket", (16,), SECCOMP_RET_ALLOW),
        ("socket", (38,), EPERM),  # AF_ALG
        ("socket", (40,), EPERM),  # AF_VSOCK
        ("removexattrat", (), SECCOMP_RET_ALLOW),
        ("open_tree_attr", (), ENOSYS),  # younger than the profile
        (9999, (), ENOSYS),
    ],
)
def test_default_container_may_what_it_may_with_docker(program, name, args, value):
    assert answer(program, name, *args) == value


def test_capabilities_open_what_they_are_for():
    admin = compiled_default((*DOCKER_DEFAULT, "CAP_SYS_ADMIN"), "x86_64")[0]
    bare = compiled_default((), "x86_64")[0]

    assert answer(admin, "mount") == SECCOMP_RET_ALLOW
    assert answer(admin, "clone3") == SECCOMP_RET_ALLOW
    assert answer(admin, "clone", 0x10000000) == SECCOMP_RET_ALLOW
    assert answer(bare, "chroot") == EPERM


def test_default_filter_is_short_to_walk(program):
    steps = [walk_filter(program, AUDIT_ARCH_X86_64, nr)[1] for nr in range(470)]

    assert max(steps) <= 16
    assert run_filter(program, AUDIT_ARCH_I386, 20) == SECCOMP_RET_ALLOW


# --- profiles in Docker's format ------------------------------------------------------------------


def test_profile_of_a_file_is_filtered_by_capability_machine_and_kernel():
    text = json.dumps(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "archMap": [
                {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}
            ],
            "syscalls": [
                {"names": ["a"], "action": "SCMP_ACT_ALLOW", "comment": "", "args": []},
                {"name": "b", "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_KILL"]}},
                {"names": ["c"], "action": "x", "includes": {"caps": ["CAP_KILL", "CAP_BPF"]}},
                {"names": ["d"], "action": "x", "excludes": {"caps": ["CAP_KILL"]}},
                {"names": ["e"], "action": "x", "includes": {"arches": ["arm64"]}},
                {"names": ["f"], "action": "x", "includes": {"minKernel": "5.10"}},
                {"names": ["g"], "action": "x", "includes": {"minKernel": "6.1"}, "errnoRet": 0},
                {"names": ["h"], "action": "x", "excludes": {"minKernel": "5.4"}},
            ],
        }
    )
    found = load_profile(text, ["CAP_KILL"], "x86_64", (5, 10))

    assert found == {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [
            {"names": ["a"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["b"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["f"], "action": "x"},
        ],
    }


@pytest.mark.parametrize(
    ("profile", "pointer"),
    [
        ([], ""),
        ({"architectures": ["x"], "archMap": [{}]}, "/archMap"),
        ({"archMap": ["x"]}, "/archMap/0"),
        ({"syscalls": {}}, "/syscalls"),
        ({"syscalls": [1]}, "/syscalls/0"),
        ({"syscalls": [{"includes": 1}]}, "/syscalls/0/includes"),
        ({"syscalls": [{"includes": {"caps": 1}}]}, "/syscalls/0/includes/caps"),
        ({"syscalls": [{"includes": {"minKernel": "6"}}]}, "/syscalls/0/includes/minKernel"),
        ({"syscalls": [{"excludes": {"minKernel": "²..1"}}]}, "/syscalls/0/excludes/minKernel"),
        ({"syscalls": [{"name": "a", "names": ["b"]}]}, "/syscalls/0/name"),
    ],
)
def test_profile_of_the_wrong_shape_is_refused_with_its_place(profile, pointer):
    with pytest.raises(SpecError) as caught:
        from_docker(profile, (), "x86_64")

    assert caught.value.pointer == pointer


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_profile_that_is_not_json_is_refused(text):
    with pytest.raises(UsageError):
        load_profile(text, ())


# --- beside podman's profile, which Debian ships --------------------------------------------------


def allowed(profile, caps):
    """The names that a container with *caps* may call without conditions."""
    found = from_docker(profile, caps, "x86_64", (6, 0))
    return {
        name
        for rule in found["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("args")
        for name in rule["names"]
    }


@pytest.mark.skipif(not CONTAINERS.exists(), reason="needs golang-github-containers-common")
def test_differences_from_podmans_profile_are_the_known_ones():
    """Podman's was made of Docker's, and each has gone its way."""
    podmans = allowed(json.loads(CONTAINERS.read_bytes()), DOCKER_DEFAULT)
    ours = {
        name
        for rule in default_profile(DOCKER_DEFAULT, "x86_64")["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("args")
        for name in rule["names"]
    }
    # Podman lets mounts and user namespaces be made inside, and keyrings and pkeys be used.
    podman_only = podmans - ours
    docker_only = ours - podmans

    assert {"mount", "unshare", "umount2", "pivot_root", "clone", "keyctl"} <= podman_only
    assert {"read", "execve", "chroot", "openat2"} <= podmans & ours
    assert docker_only <= {
        "cachestat", "fchmodat2", "futex_requeue", "futex_wait", "futex_waitv", "futex_wake",
        "getxattrat", "io_pgetevents", "io_pgetevents_time64", "landlock_add_rule",
        "landlock_create_ruleset", "landlock_restrict_self", "listmount", "listxattrat",
        "map_shadow_stack", "memfd_secret", "mseal", "pidfd_send_signal", "process_mrelease",
        "process_vm_readv", "process_vm_writev", "ptrace", "removexattrat", "riscv_hwprobe",
        "setxattrat", "statmount", "uretprobe", "vmsplice",
    }  # fmt: skip


@pytest.mark.skipif(not CONTAINERS.exists(), reason="needs golang-github-containers-common")
@pytest.mark.parametrize("caps", [(), DOCKER_DEFAULT, NAMES])
def test_podmans_profile_compiles(caps):
    found = load_profile(CONTAINERS.read_bytes(), caps)
    program, _ = compile_filter(found, arch="x86_64")

    assert answer(program, "read") == SECCOMP_RET_ALLOW
    assert seccomp_default.CAPABILITIES
