"""``newroot-oci features``: each line is tried."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from typing import Any

import pytest

from newroot.cli.oci.features import features
from newroot.container.hooks import POINTS
from newroot.isolation import capabilities, namespaces, seccomp, tuning
from newroot.rootfs.mount_steps import split_options
from newroot.testing import needs

pytestmark = [needs("root", "runc"), pytest.mark.timeout(120)]

FEATURES = features()
#: Those that only a bind takes, or a mount of the kernel's own does not.
NOT_OF_TMPFS = {"bind", "rbind", "idmap", "ridmap", "remount"}
#: What this kernel, or a tmpfs, makes of them is another matter.
UP_TO_THE_KERNEL = set(
    "acl noacl remount mand iversion silent lazytime nolazytime sync dirsync".split()
)


def test_the_document_is_printed_and_has_runcs_form() -> None:
    program = os.path.join(sysconfig.get_path("scripts"), "newroot-oci")
    ours = json.loads(subprocess.check_output([program, "features"]))
    theirs = json.loads(subprocess.check_output(["runc", "features"]))

    assert ours == FEATURES
    for key in ("ociVersionMin", "ociVersionMax", "hooks", "mountOptions", "linux"):
        assert type(ours[key]) is type(theirs[key])
    for key in ("namespaces", "capabilities", "cgroup", "seccomp", "apparmor"):
        assert type(ours["linux"][key]) is type(theirs["linux"][key])
    assert set(theirs["linux"]["capabilities"]) <= set(ours["linux"]["capabilities"])
    assert set(theirs["linux"]["namespaces"]) <= set(ours["linux"]["namespaces"])
    assert set(theirs["linux"]["seccomp"]["actions"]) <= set(ours["linux"]["seccomp"]["actions"])
    assert set(theirs["linux"]["seccomp"]["archs"]) <= set(ours["linux"]["seccomp"]["archs"])


def test_every_mount_option_is_known_and_none_goes_to_the_file_system_as_a_stranger() -> None:
    for option in FEATURES["mountOptions"]:
        left = split_options([option]).data
        assert left == () or option in UP_TO_THE_KERNEL, option
    assert split_options(["novelty"]).data == ("novelty",)


def test_every_mount_option_is_mounted_with(bundle: Any) -> None:
    options = [o for o in FEATURES["mountOptions"] if o not in NOT_OF_TMPFS | UP_TO_THE_KERNEL]
    bundle.config["mounts"] += [
        {"destination": f"/m/{o}", "type": "tmpfs", "source": "tmpfs", "options": [o]}
        for o in options
    ] + [
        {"destination": f"/b/{o}", "type": "bind", "source": "/usr", "options": [o]}
        for o in ("bind", "rbind")
    ]
    code, output, errors = bundle.run("ls", "/m", "/b")

    assert code == 0, errors
    assert {*options, "bind", "rbind"} <= set(output.split())


def test_every_namespace_and_version_and_hook_is_accepted(bundle: Any) -> None:
    kinds = [kind for kind in FEATURES["linux"]["namespaces"] if kind != "user"]
    assert set(FEATURES["linux"]["namespaces"]) == set(namespaces.NAMES)
    bundle.config["linux"]["namespaces"] = [{"type": kind} for kind in kinds]
    marks = bundle.directory / "rootfs/marks"
    marks.mkdir()
    bundle.config["hooks"] = {
        point: [
            {
                "path": "/bin/touch",
                "args": [
                    "touch",
                    f"/marks/{point}" if point == "startContainer" else f"{marks}/{point}",
                ],
            }
        ]
        for point in FEATURES["hooks"]
    }
    for version in (FEATURES["ociVersionMin"], FEATURES["ociVersionMax"]):
        bundle.config["ociVersion"] = version
        code, _, errors = bundle.run("true")
        assert code == 0, errors

    assert sorted(os.listdir(marks)) == sorted(POINTS)


def test_every_capability_is_a_name_that_is_known() -> None:
    names = FEATURES["linux"]["capabilities"]

    assert capabilities.left_out({"bounding": names}, None) == tuple(
        name for name in names if name not in _of_this_kernel()
    )


def _of_this_kernel() -> tuple[str, ...]:
    from newroot.linux.capabilities import NAMES, last_cap

    return NAMES[: last_cap() + 1]


@pytest.mark.parametrize("key", ["actions", "operators", "archs", "knownFlags", "supportedFlags"])
def test_every_word_of_seccomp_is_compiled(key: str) -> None:
    for word in FEATURES["linux"]["seccomp"][key]:
        rule: dict[str, Any] = {"names": ["getpid"], "action": "SCMP_ACT_LOG"}
        profile: dict[str, Any] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
        if key == "actions":
            rule["action"] = word
        elif key == "operators":
            rule["args"] = [{"index": 0, "value": 1, "op": word}]
        elif key == "archs":
            profile["architectures"] = [word]
        else:
            rule["action"] = "SCMP_ACT_NOTIFY"
            profile["flags"] = [word]
        program, _ = seccomp.compile_filter(profile)
        assert program


def test_every_memory_policy_is_a_step() -> None:
    policies = FEATURES["linux"]["memoryPolicy"]
    for mode in policies["modes"]:
        nodes = {} if mode in ("MPOL_DEFAULT", "MPOL_LOCAL") else {"nodes": "0"}
        policy = {"mode": mode, **nodes, "flags": policies["flags"]}
        assert len(tuning.tuning_steps({}, {"memoryPolicy": policy})) == 1
