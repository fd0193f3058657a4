"""What a user namespace refuses, provoked for real: what newroot says, and that nothing remains.

Root in there is the caller out here, so this file runs as root and without privileges alike.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import newroot
from newroot.errors import StepError
from newroot.plan import steps as s
from newroot.record import record
from newroot.testing.needs import needs
from newroot.testing.plans import PRIVATE, failures, without_log

pytestmark = needs("userns")

MAP = s.MapIds(uids=((0, 0, 1),), gids=((0, 0, 1),))


@pytest.fixture
def attempt(tmp_path: Path) -> Iterator[Callable[..., StepError]]:
    """Carry out a plan that fails; afterwards nothing of it may be left."""
    with failures(tmp_path) as fails:

        def mapped(*steps: s.Step, **arguments: Any) -> StepError:
            try:
                return fails(*steps, **arguments)
            except PermissionError:
                # PR_SET_DUMPABLE, prctl(2): the files of /proc/PID are root's then.
                pytest.skip("newroot-init is not dumpable, so only root may map its ids")

        yield mapped


@pytest.fixture
def t(tmp_path: Path) -> str:
    for name in ("a", "m", "u", "w"):
        (tmp_path / name).mkdir()
    return str(tmp_path)


def mount(type: str, target: str, *options: str, flags: tuple[str, ...] = ()) -> s.MountFs:
    return s.MountFs(
        type=type, source="test", target=target, options=options, flags=flags, on_host=True
    )


@record
class Case:
    steps: Callable[[str], tuple[s.Step, ...]]  #: made for a directory, which the texts call T
    says: str  #: all of the message but the step's place
    hint: str
    kernel_log: str = ""  #: the kernel's own words, which older kernels do not say
    namespaces: tuple[str, ...] = ("user", "mount")


def nested(*outside: s.Step, spaces: tuple[str, ...]) -> tuple[s.Step, ...]:
    """One user namespace in another: what is mounted *outside* is locked in the inner one.

    Nothing is born by clone, for newroot-init makes no namespace twice that it was born in.  The
    inner one's ids stay unmapped: only a process of the outer one could map them.
    """
    return (
        s.Unshare(namespaces=("user", "mount")),
        MAP,
        PRIVATE,
        *outside,
        s.Unshare(namespaces=("user", "mount", *spaces)),
    )


CASES: dict[str, Case] = {
    "a user namespace shows no processes but those of its own pid namespace": Case(
        steps=lambda t: (MAP, PRIVATE, mount("proc", f"{t}/m")),
        says="mount proc on T/m: a user namespace may show only a pid namespace of its own (EPERM)",
        hint="make a pid namespace too (--pid private), or bind the host's /proc",
    ),
    "a user namespace shows no devices but those of its own network namespace": Case(
        steps=lambda t: (MAP, PRIVATE, mount("sysfs", f"{t}/m")),
        says="mount sysfs on T/m: a user namespace may show only a network namespace of its own "
        "(EPERM)",
        hint="make a network namespace too (--network none), or bind the host's /sys",
    ),
    "a user namespace shows no queues but those of its own ipc namespace": Case(
        steps=lambda t: (MAP, PRIVATE, mount("mqueue", f"{t}/m")),
        says="mount mqueue on T/m: a user namespace may show only an ipc namespace of its own "
        "(EPERM)",
        hint="make an ipc namespace too (--ipc private), or bind the host's /dev/mqueue",
    ),
    "a user namespace shows no cgroups but those below its own cgroup namespace": Case(
        steps=lambda t: (MAP, PRIVATE, mount("cgroup2", f"{t}/m")),
        says="mount cgroup2 on T/m: a user namespace may show only a cgroup namespace of its own "
        "(EPERM)",
        hint="make a cgroup namespace too (--cgroupns private), or bind the host's /sys/fs/cgroup",
    ),
    "a user namespace mounts no file system of a disk": Case(
        steps=lambda t: (MAP, PRIVATE, mount("ext4", f"{t}/m")),
        says="mount ext4 on T/m: a user namespace may not mount ext4 (EPERM)",
        hint="mount it on the host as root, and bind it into the container",
    ),
    "a user namespace mounts nothing in another's mount namespace": Case(
        steps=lambda t: (MAP, mount("tmpfs", f"{t}/m")),
        says="mount tmpfs on T/m: the mount namespace is not the user namespace's own (EPERM)",
        hint="make a mount namespace together with the user namespace",
        namespaces=("user",),
    ),
    "a fresh proc would show what was hidden on the old one": Case(
        steps=lambda t: (
            *nested(s.UseRoot(path="/"), s.Mask(target="/proc/sys"), spaces=("pid",)),
            s.Reap(),
            mount("proc", f"{t}/m"),
        ),
        says="mount proc on T/m: a fresh proc would show what is hidden on the one that this host "
        "already has (EPERM)",
        hint="the outer container masks parts of it: run that one unmasked (--security-opt "
        "unmask=ALL), or bind its proc instead of mounting a new one",
        namespaces=(),
    ),
    "a fresh sysfs would show what was hidden on the old one": Case(
        steps=lambda t: (
            *nested(mount("tmpfs", "/sys/kernel"), spaces=("net",)),
            mount("sysfs", f"{t}/m"),
        ),
        says="mount sysfs on T/m: a fresh sysfs would show what is hidden on the one that this "
        "host already has (EPERM)",
        hint="the outer container masks parts of it: run that one unmasked (--security-opt "
        "unmask=ALL), or bind its sysfs instead of mounting a new one",
        namespaces=(),
    ),
    "a mount's flags from outside are locked": Case(
        steps=lambda t: (
            *nested(mount("tmpfs", f"{t}/m", flags=("ro",)), spaces=()),
            s.SetAttr(target=f"{t}/m", flags=("rw",), on_host=True),
        ),
        says="make T/m rw: the flags of a mount that came from outside are locked in a user "
        "namespace (EPERM)",
        hint="keep the flags that it has (ro, nosuid, nodev, noexec), and add to them only",
        namespaces=(),
    ),
    "the mounts below a mount from outside are locked to it": Case(
        steps=lambda t: (
            MAP,
            PRIVATE,
            s.BindMount(source="/", target=f"{t}/m", recursive=False, on_host=True),
        ),
        says="bind / on T/m: the mounts below it are locked to it in a user namespace (EINVAL)",
        hint="bind it with all that is below it: rbind",
    ),
    "a group that is not mapped cannot own terminals": Case(
        steps=lambda t: (MAP, PRIVATE, mount("devpts", f"{t}/m", "gid=5")),
        says="mount devpts on T/m (gid=5): the group that the option names is not mapped in this "
        "user namespace (EINVAL)",
        kernel_log="devpts: Invalid gid '5'",
        hint="leave the option out, or map that group",
    ),
    "a user namespace makes no device nodes": Case(
        steps=lambda t: (
            MAP,
            PRIVATE,
            mount("tmpfs", f"{t}/m"),
            s.UseRoot(path=f"{t}/m"),
            s.MakeNode(target="/null", kind="c", major=1, minor=3),
        ),
        says="make the node /null (c 1:3): a user namespace may not make device nodes (EPERM)",
        hint="bind the host's device instead; newroot does so for a user without root",
    ),
    "a user namespace without a uts namespace names no host": Case(
        steps=lambda t: (MAP, s.SetHostname(hostname="new")),
        says="set the hostname to new: the uts namespace is not the container's own (EPERM)",
        hint="make one (--uts private), or leave the name as it is",
    ),
    "a user namespace without a network namespace brings no interface up": Case(
        steps=lambda t: (MAP, s.LinkUp(interface="lo")),
        says="bring lo up: the network namespace is not the container's own (EPERM)",
        hint="make one (--network none)",
    ),
    "the host's namespaces cannot be joined from a user namespace": Case(
        steps=lambda t: (MAP, s.SetNamespace(namespace="uts", path=f"/proc/{os.getpid()}/ns/uts")),
        says=f"join the uts namespace /proc/{os.getpid()}/ns/uts: the namespace belongs to "
        "somebody with more privileges (EACCES)",
        hint="join its user namespace first, or run as root",
    ),
    "groups cannot be set where setgroups is denied": Case(
        steps=lambda t: (MAP, s.SetUser(uid=0, gid=0, groups=(0,))),
        says="become uid 0, gid 0, groups [0], umask 0022: setgroups is denied in this user "
        "namespace (EPERM)",
        hint="map the groups with newgidmap and a range in /etc/subgid, or ask for no groups",
    ),
    "a user that is not mapped is nobody to become": Case(
        steps=lambda t: (MAP, s.SetUser(uid=1000, gid=0, keep_groups=True)),
        says="become uid 1000, gid 0, umask 0022: the user or group id is not mapped in this user "
        "namespace (EINVAL)",
        hint="use an id that is mapped, or map more: a range in /etc/subuid and /etc/subgid",
    ),
    "settings are made through a proc of the container's own": Case(
        steps=lambda t: (MAP, s.SetSysctl(name="kernel.hostname", value="x")),
        says="set kernel.hostname = x: the container may not have a /proc of its own, through "
        "which settings are made (EPERM)",
        hint="make a pid namespace too (--pid private), and let nothing of /proc be masked outside",
    ),
    "namespaces have a limit": Case(
        steps=lambda t: (
            MAP,
            s.SetSysctl(name="user.max_net_namespaces", value="0"),
            s.Unshare(namespaces=("net",)),
        ),
        says="new namespaces: net: a limit of namespaces is reached (ENOSPC)",
        hint="raise it, or end some containers: /proc/sys/user/max_net_namespaces",
        namespaces=("user", "mount", "pid"),
    ),
    "a user namespace's overlay misses a layer by name": Case(
        steps=lambda t: (
            MAP,
            PRIVATE,
            s.MountOverlay(
                lower=(f"{t}/a", f"{t}/none"),
                upper=f"{t}/u",
                work=f"{t}/w",
                target=f"{t}/m",
                options=("userxattr",),
            ),
        ),
        says="mount overlay on T/m (lower=T/a:T/none, upper=T/u, userxattr): the lower directory "
        "T/none is not there (ENOENT)",
        hint="for a layer of an image: remove the image and get it again",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_failure_is_explained(name: str, t: str, attempt: Callable[..., StepError]) -> None:
    case = CASES[name]
    steps = case.steps(t)

    error = attempt(*steps, namespaces=case.namespaces)

    total = len(steps) + 1
    assert f"step {total} of {total}, {case.says}" == without_log(error).replace(t, "T")
    assert case.kernel_log in (error.kernel_log.replace(t, "T"), "")
    assert case.hint == (error.hint or "").replace(t, "T")


# ---- clone3, refused ----

_LAUNCH = """
import os
from newroot.errors import SyscallError
from newroot.plan import encode, steps as s
from newroot.plan.launcher import Launcher

launcher = Launcher()
namespaces = ("net",)
plan = s.Plan(steps=(s.Unshare(namespaces=namespaces), s.SetCwd(path="/none")))
launch = launcher.launch(encode.encode(plan), encode.clone_flags(namespaces), (0, 1, 2))
try:
    launch.wait_ended()
except SyscallError as error:
    print(error)
    print(error.hint)
launch.close()
launcher.close()
"""


def launch_in_user_namespace(*before: str) -> list[str]:
    """What Python says of a launch that is refused, in a user namespace that *before* prepared."""
    done = subprocess.run(
        ["unshare", "-Urmpf", "--mount-proc", *before, sys.executable, "-c", _LAUNCH],
        env={**os.environ, "PYTHONPATH": str(Path(newroot.__file__).parent.parent)},
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@needs("util-linux")
def test_clone_at_the_limit_of_namespaces_is_explained() -> None:
    said = launch_in_user_namespace(
        "sh", "-c", 'echo 0 >/proc/sys/user/max_net_namespaces; exec "$0" "$@"'
    )

    assert said == [
        "starting a process in new namespaces: a limit of namespaces is reached (ENOSPC)",
        "raise it, or end some containers: /proc/sys/user/max_*_namespaces",
    ]


@needs("util-linux", "setpriv")
def test_clone_without_privileges_is_explained() -> None:
    said = launch_in_user_namespace("setpriv", "--bounding-set=-all", "--inh-caps=-all")

    assert said == [
        "starting a process in new namespaces: Operation not permitted (EPERM)",
        "this needs root, or a user namespace of your own",
    ]
