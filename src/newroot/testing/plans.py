"""Carry out a plan that was made by hand, and take what comes back: for tests of single steps."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from newroot.errors import StepError
from newroot.plan import encode
from newroot.plan import steps as s
from newroot.plan.host import Host
from newroot.plan.launcher import REPORT_FAILED, REPORT_WAITING, Ended, Launcher
from newroot.plan.report import step_error
from newroot.testing.host import HostState, host_state

#: The mounts of a plan made by hand stay its own.
PRIVATE = s.SetPropagation(target="/", propagation="rprivate", on_host=True)


def run_plan(
    launcher: Launcher,
    *steps: s.Step,
    namespaces: tuple[str, ...] = ("mount",),
    host: Host | None = None,
) -> StepError | Ended:
    """Carry out *steps*, born in *namespaces*; return the failure, or how it ended.

    A plan that does not end in a command ends with exit code 127.  Where ids are to be mapped,
    root in there is the caller out here.
    """
    plan = s.Plan(steps=(s.Unshare(namespaces=namespaces), *steps))
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        launch = launcher.launch(
            encode.encode(plan), encode.clone_flags(namespaces), (null, null, null)
        )
    finally:
        os.close(null)
    failure: StepError | None = None
    try:
        launch.read_started(block=True)
        while (report := launch.next_report()) is not None:
            if report.kind == REPORT_WAITING:
                map_ids(launch.pid)
                launch.go_on()
            elif report.kind == REPORT_FAILED:
                failure = step_error(plan, report, host)
        ended = launch.wait_ended()
    finally:
        launch.close()
    return failure or ended


def map_ids(pid: int) -> None:
    """Root in *pid*'s new user namespace is this process's user: user_namespaces(7)."""
    ids = {"setgroups": "deny", "uid_map": f"0 {os.geteuid()} 1", "gid_map": f"0 {os.getegid()} 1"}
    for name, text in ids.items():
        with open(f"/proc/{pid}/{name}", "w", encoding="ascii") as file:
            file.write(text)


@contextmanager
def failures(directory: str | os.PathLike[str]) -> Iterator[Callable[..., StepError]]:
    """``run_plan()`` for plans that must fail and leave nothing, not even below *directory*.

    Looked at are our processes and descriptors, and mounts and cgroups that have *directory*, or
    our process id, in their names: what others do on the machine meanwhile is theirs.
    """
    mark = os.fspath(directory)
    before = _ours(mark)
    launcher = Launcher()

    def fails(*steps: s.Step, **arguments: object) -> StepError:
        files = host_state(mark, marker=mark).files
        result = run_plan(launcher, *steps, **arguments)  # type: ignore[arg-type]
        after = host_state(mark, marker=mark).files
        # The kernel makes work/work for an overlay, and leaves it: ovl_workdir_create().
        made = {path for path in after - files if not path.endswith(("/w/work", "/w/index"))}

        assert isinstance(result, StepError), f"it did not fail: {result}"
        assert made == set()
        return result

    try:
        yield fails
    finally:
        launcher.close()

    assert before.changes(_ours(mark)) == []


def without_log(error: StepError) -> str:
    """The message without the kernel's own words, of which newer kernels have more."""
    return str(error).removesuffix(f" [kernel: {error.kernel_log}]")


def _ours(mark: str) -> HostState:
    state = host_state(marker=mark)
    return HostState(
        mounts=frozenset(line for line in state.mounts if mark in line),
        processes=state.processes,
        descriptors=state.descriptors,
        cgroups=state.cgroups,
        files=frozenset(),
    )
