"""What a monitor becomes when its container's end, or its next beginning, takes Python.

    python -I -S last_act.py ROOT RUN_ROOT ID clear|again|check FD RESTARTS DELAY_MS

``clear`` removes a container that goes at its end, ``again`` starts one whose user namespace only
we can give its ids.  ``check`` is no last act: it is a child of the monitor's, asks once whether
the container is well, and has no descriptor.  FD is the run directory, whose lock comes with it:
nobody sees the container as free meanwhile, and if this process is killed the next command clears
away.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.container.storage import Claim, ContainerStorage
    from newroot.rootfs.volumes import VolumeStore

_FAILED = 125  #: Docker's number for what is not the container's doing


def command(claim: Claim) -> tuple[str, ...]:
    """The words of the command, but for those that the monitor adds; none without a Python."""
    # The file may be in an archive, or Python in another program: then the next command clears.
    if not sys.executable or not __file__.endswith(".py"):
        return ()
    return (sys.executable, "-I", "-S", __file__, *claim.places, claim.id)


def _main(root: str, run_root: str, container_id: str, what: str, *numbers: str) -> None:
    from newroot.container.storage import Claim, ContainerStorage
    from newroot.rootfs.volumes import VolumeStore

    fd, restarts, delay_ms = map(int, numbers)
    storage = ContainerStorage(root, run_root)
    if what == "check":
        return _check(storage, container_id)
    claim = Claim(storage, container_id, fd)
    claim.state = storage.state(container_id)
    if what == "again":
        _again(storage, VolumeStore(root), claim, restarts, delay_ms)
    else:
        from newroot.container.sweep import finish

        finish(storage, claim, VolumeStore(root))


def _check(storage: ContainerStorage, container_id: str) -> None:
    from newroot.container.health_check import check
    from newroot.plan.launcher import Launcher

    launcher = Launcher()
    try:
        check(storage, container_id, launcher)
    finally:
        launcher.close()


def _again(
    storage: ContainerStorage, volumes: VolumeStore, claim: Claim, restarts: int, delay_ms: int
) -> None:
    from newroot.container.detached import Before, start_detached
    from newroot.container.kept_settings import read_settings, read_source
    from newroot.container.start import Starter
    from newroot.plan.launcher import Launcher

    record = storage.record(claim.id)
    claim.stays, claim.restarts = True, restarts + 1
    claim.state = {k: v for k, v in claim.state.items() if k not in ("pid", "startTicks")}
    storage.forget_process(claim.id)
    launcher = Launcher()
    try:
        start_detached(
            Starter(storage, volumes, lambda: launcher),
            read_settings(record.get("settings") or {}),
            read_source(record.get("from") or {}),
            claim,
            before=Before(restarts=restarts + 1, delay_ms=delay_ms),
        )
    except BaseException as error:
        ended = {"exitCode": _FAILED, "signal": None, "restarts": restarts, "error": str(error)}
        storage.write(claim.id, "exit.json", ended)
        raise
    finally:
        launcher.close()


if __name__ == "__main__":
    sys.path.append(__file__[: -len("/newroot/container/last_act.py")])
    _main(*sys.argv[1:])
