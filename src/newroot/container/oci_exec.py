"""Another process is run in an OCI container: in all its namespaces, its cgroup, its confinement.

The plan is short: a forerunner joins the container's cgroup and, by a pidfd, all its namespaces at
once, and the process is born there (steps.Birth).  Limits are set before, for in a user namespace
they could not be raised; and what is written to the process's own /proc is written to the host's,
for the container's may be anything: CVE-2019-16884.
"""

from __future__ import annotations

import os

from newroot.container.bundle_config import environment, keyring
from newroot.container.compile import command
from newroot.container.oci_state import PAUSED, STOPPED, OciContainer
from newroot.container.parent import Parent
from newroot.container.process import Cleanup, Process
from newroot.container.streams import give_streams
from newroot.errors import SpecError, UsageError, WrongStatus
from newroot.isolation import namespaces
from newroot.plan import encode
from newroot.plan import steps as s
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from newroot.container.stdio import Stdio
    from newroot.plan.launcher import Launcher

_BEFORE = (s.SetOomScore, s.SetRlimit, s.SetLabel)


def _silent(words: str) -> None:
    pass


@record
class ExecWishes:
    """How a process is to be run, beside what it is."""

    sub_cgroups: tuple[str, ...] = ()  #: ``[CONTROLLER,…:]PATH`` below the container's own
    ignore_paused: bool = False
    passed: tuple[int, ...] = ()
    terminal_size: tuple[int, int] = (0, 0)
    dies_with_parent: bool = True
    fake_ids: bool = False
    warn: Callable[[str], None] = _silent
    seccomp: tuple[tuple[bytes, int] | None] | None = None
    """A filter and its flags, or no filter; None: what the container's config says."""


def execute(
    container: OciContainer,
    process: dict[str, Any],
    wishes: ExecWishes,
    launcher: Launcher,
    stdio: Stdio,
) -> Process:
    """Start *process*, an OCI process object, in a container that runs.

    Raises WrongStatus for one that does not, SpecError for what *process* may not say.
    """
    try:
        pidfd = _open(container, ignore_paused=wishes.ignore_paused)
        try:
            process = {**process, "env": environment(process, container.rootfs)}
            config = {**container.config(), "process": process}
            plan = draw(container, config, wishes)
            give_streams(config, stdio.fds)
            launch = launcher.launch(
                encode.encode(plan),
                0,
                stdio.fds,
                own=(pidfd,),
                passed=wishes.passed,
                birth=True,
                kept=not wishes.dies_with_parent,  # how it ends is its subreaper's to hear
            )
        finally:
            os.close(pidfd)
    finally:
        for fd in stdio.theirs:
            os.close(fd)
    state = {"ociVersion": container.oci_version, "id": container.id, "bundle": container.bundle}
    state["status"] = "running"
    parent = Parent(config | {"hooks": None}, plan, state)
    return Process(
        launch,
        lambda: plan,
        Cleanup(oom_kills=lambda: 0, release=lambda ended: parent.close()),
        tuple(process["args"]),
        stdio.pipes,
        parent=parent,
    )


def _open(container: OciContainer, *, ignore_paused: bool) -> int:
    """A pidfd of the container's first process."""
    status = container.status()
    if status == PAUSED and not ignore_paused:
        raise WrongStatus(
            "cannot exec in a paused container (use --ignore-paused to override)",
            status=status,
            wanted="running",
        )
    if status not in ("created", "running", PAUSED):
        raise _stopped()
    try:
        pidfd = os.pidfd_open(container.pid)
    except ProcessLookupError:
        raise _stopped() from None
    # Only now is it sure that the pidfd is of that process, and not of the next one of its id.
    if container.status() == STOPPED:
        os.close(pidfd)
        raise _stopped()
    return pidfd


def _stopped() -> WrongStatus:
    return WrongStatus("cannot exec in a stopped container", status=STOPPED, wanted="running")


def draw(container: OciContainer, config: dict[str, Any], wishes: ExecWishes) -> s.Plan:
    """The plan of a process in a container that was made of *config*."""
    from newroot.container.bundle import seccomp_filter
    from newroot.container.bundle_config import (
        check_host,
        held_capabilities,
        warn_of_capabilities,
    )
    from newroot.isolation.identity import identity_steps
    from newroot.linux.user_namespaces import has_single_id

    process, linux = config["process"], config.get("linux") or {}
    if not str(process.get("cwd") or "").startswith("/"):
        raise SpecError(f"not an absolute path: {process.get('cwd')!r}", pointer="/process/cwd")
    check_host({"process": process})
    kinds = namespaces.kinds(linux.get("namespaces") or [])
    warn_of_capabilities(process, wishes.warn, inside="user" in kinds)
    (filter_,) = wishes.seccomp or (seccomp_filter(config),)
    identity = identity_steps(
        process,
        filter_,
        dies_with_parent=wishes.dies_with_parent,
        available=held_capabilities(in_user_namespace="user" in kinds),
        single_id=has_single_id() or ("user" in kinds and _has_single_id_to_give()),
        fake_ids=wishes.fake_ids,
    )
    tuning, initial, final = _tuning(process)
    return s.Plan(
        steps=(
            *initial,
            *_join_cgroups(container, wishes.sub_cgroups),
            *(step for step in (*tuning, *identity) if isinstance(step, _BEFORE)),
            s.JoinProcess(
                namespaces=tuple(map(namespaces.kernel_name, kinds)),
                pid=container.pid,
                why="where the container is",
            ),
            s.Birth(why="its process id is one of the container's"),
            s.NewSession(why="no terminal of the caller's is within reach: ioctl_tty(2)"),
            *final,
            *_terminal(process, wishes),
            *_keyring(container, kinds),
            *(step for step in (*tuning, *identity) if not isinstance(step, _BEFORE)),
            command(process),
        )
    )


def _has_single_id_to_give() -> bool:
    """Whether the caller's containers have one id, and so no setgroups(2): oci_rootless.py.

    Not asked of the container's process, which may have gone on into a namespace of its own where
    it is denied, and so would be given the caller's groups.
    """
    from newroot.linux.user_namespaces import may_unshare

    if may_unshare():
        return False
    from newroot.isolation.own_ids import own_ids

    return own_ids(os.geteuid(), os.getegid()).is_single


def _join_cgroups(container: OciContainer, wanted: tuple[str, ...]) -> tuple[s.Step, ...]:
    if not container.cgroups:
        return ()
    below = dict(_sub_cgroup(word) for word in wanted)
    paths = []
    for place in container.cgroup().places:
        names = place.hierarchy.controllers if place.hierarchy.version == 1 else ("",)
        chosen = [below[name] for name in names if name in below] or [below.get("", "")]
        paths.append(f"{place.directory}/{chosen[0]}".rstrip("/"))
    for path in paths:
        if wanted and not os.path.isdir(path):
            raise UsageError(f"no cgroup {path}", hint="--cgroup names one that is there already")
    return tuple(
        s.JoinCgroup(procs=f"{path}/cgroup.procs", why="its limits are the container's")
        for path in paths
    )


def _sub_cgroup(word: str) -> tuple[str, str]:
    controller, _, path = word.rpartition(":")
    if ".." in path.split("/"):
        raise UsageError(f"invalid sub-cgroup {word!r}: it leads out of the container's")
    return controller.split(",")[0], path.strip("/")


def _terminal(process: dict[str, Any], wishes: ExecWishes) -> tuple[s.Step, ...]:
    if not process.get("terminal"):
        return ()
    rows, columns = wishes.terminal_size
    return (
        s.UseRoot(path="/", why="the container's own devpts is below it"),
        s.OpenTerminal(
            rows=rows,
            columns=columns,
            uid=int((process.get("user") or {}).get("uid", 0)),
            console=False,
            why="the caller talks to it through its other end",
        ),
    )


def _keyring(container: OciContainer, spaces: dict[str, str | None]) -> tuple[s.Step, ...]:
    """The container's own, by its name: keyctl(2), KEYCTL_JOIN_SESSION_KEYRING."""
    name = keyring(container.id, wanted=container.new_keyring)
    if not name:
        return ()
    return (s.NewKeyring(name=name, for_others="user" in spaces, why="the container's"),)


def _tuning(process: dict[str, Any]) -> tuple[tuple[s.Step, ...], ...]:
    """What few processes ask for; and the processors to begin on, and to end up on."""
    asked = ("scheduler", "ioPriority", "apparmorProfile", "selinuxLabel", "execCPUAffinity")
    if not any(map(process.get, asked)):
        return (), (), ()
    from newroot.isolation.labels import label_steps
    from newroot.isolation.tuning import affinity_steps, tuning_steps

    return (
        (*tuning_steps(process, {}), *label_steps(process)),
        affinity_steps(process, "initial"),
        affinity_steps(process, "final"),
    )
