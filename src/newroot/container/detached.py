"""A container that nobody waits for: started by us, kept by a monitor of its own.

The monitor is what the launcher of this one container becomes (plan/keep.py).  Until it has said
that it is, the death of this process ends the container; from then on nothing of ours does.

    <root>/containers/<id>/log, log.1 …     what it said: native/log.c
    <root>/containers/<id>/exit.json        how it ended last: written by the monitor
    <run_root>/<id>/attach                  the monitor's socket: container/attach.py
"""

from __future__ import annotations

import os

from newroot.container import attach, last_act
from newroot.container.health import STARTING, health_of
from newroot.container.pipes import DEVNULL, PIPE, open_stdio
from newroot.container.stdio import Stdio
from newroot.isolation import rootless
from newroot.plan import keep as k
from newroot.plan.launcher import Launcher
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

    from newroot.container.health import Health
    from newroot.container.process import Process
    from newroot.container.settings import Settings
    from newroot.container.source import Source
    from newroot.container.start import Starter
    from newroot.container.storage import Claim, ContainerStorage

_MOST_MS = 2**32 - 1

_RESTARTS = {
    "no": k.RESTART_NO,
    "on-failure": k.RESTART_ON_FAILURE,
    "always": k.RESTART_ALWAYS,
    "unless-stopped": k.RESTART_ALWAYS,
}


def change_policy(storage: ContainerStorage, container_id: str, policy: str, most: int) -> None:
    """Tell the monitor of a container, if it has one, when to begin it anew."""
    packet = k.POLICY + bytes([_RESTARTS[policy]]) + most.to_bytes(4, "little")
    attach.tell(storage, container_id, packet)


@record
class Before:
    """What a monitor has counted that was there before."""

    restarts: int = 0
    delay_ms: int = 0


_FIRST = Before()


def create(
    starter: Starter,
    storage: ContainerStorage,
    settings: Settings,
    source: Source,
    words: tuple[str, ...] = (),
) -> str:
    """Take an id and a name for a container, and write down what is asked; return the id."""
    from newroot.container.config import arguments
    from newroot.container.mounts import find_sources
    from newroot.container.records import write_record
    from newroot.container.volumes_from import resolved
    from newroot.record import replace

    settings = replace(settings, command=words) if words else settings
    settings = resolved(storage, settings)
    args = arguments(settings, source.image)
    claim = storage.claim(
        name=settings.name,
        remove=settings.remove,
        making=True,
        source=source.name,
        lower=list(source.lower),
        command=args,
        labels=dict(settings.labels),
    )
    holds: tuple[int, ...] = ()
    try:
        # Its volumes are made now, and are its own from now on: it may be started in a year.
        sourced = find_sources(settings, source, starter.volumes)
        holds = sourced.holds
        write_record(storage, claim, settings, source, tuple(args), sourced, started=None)
    except BaseException:
        claim.release(remove=True)
        raise
    finally:
        for fd in holds:
            os.close(fd)
    claim.release(remove=False)
    return claim.id


def start(
    starter: Starter,
    storage: ContainerStorage,
    container_id: str,
    *,
    terminal_size: tuple[int, int] = (0, 0),
    attached: bool = False,
) -> _socket.socket | None:
    """Start a container that is there, by its record; nothing if it runs.

    With *attached* a connection to its monitor, as ``start_detached()`` has it.  Raises StateError
    for a damaged record, and what ``start_detached()`` does.
    """
    from newroot.container.kept_settings import read_settings, read_source
    from newroot.container.sweep import take

    claim = take(storage, container_id)
    if claim is None:
        return attach.connect(storage, container_id) if attached else None
    kept = storage.record(container_id)
    storage.begin_again(claim, kept.get("name"))
    try:
        settings = read_settings(kept.get("settings") or {})
        source = read_source(kept.get("from") or {})
    except BaseException:
        claim.release(remove=False)
        raise
    storage.forget_exit(container_id)
    return start_detached(
        starter, settings, source, claim, terminal_size=terminal_size, attached=attached
    )


def start_detached(
    starter: Starter,
    settings: Settings,
    source: Source,
    claim: Claim,
    *,
    terminal_size: tuple[int, int] = (0, 0),
    attached: bool = False,
    before: Before = _FIRST,
) -> _socket.socket | None:
    """Start the container that *claim* is about, and leave it to its monitor.

    *claim* is no longer the caller's, whatever happens.  With *attached* a connection to the
    monitor is returned, over which comes all that the container says from its first byte on.
    *before* is what another monitor of it has counted.

    Raises what ``Starter.start()`` does, and StepError when a step failed or the command is not
    there.
    """
    health = health_of(settings, source.image)
    asked = {"health": STARTING} if health is not None else {}
    # Its owner is not this process for long.
    claim.write_state(detached=True, remove=settings.remove, **asked)
    launcher = Launcher(detached=True)
    process: Process | None = None
    try:
        process = starter.start(
            settings,
            source,
            _streams(settings),
            claim=claim,
            launcher=launcher,
            terminal_size=terminal_size,
        )
        try:
            process.wait_started()
            visit = _hand_over(launcher, settings, claim, process, attached, before, health)
        except BaseException:
            process.close()
            raise
        process.hand_over()
        os.close(claim.fd)
        return visit
    finally:
        if process is not None and process.wiring is not None:
            process.wiring.close()
        launcher.close()


def _streams(settings: Settings) -> Stdio:
    if settings.terminal:
        return open_stdio(DEVNULL, DEVNULL, DEVNULL)
    return open_stdio(PIPE if settings.interactive else DEVNULL, PIPE, PIPE)


def _hand_over(
    launcher: Launcher,
    settings: Settings,
    claim: Claim,
    process: Process,
    attached: bool,
    before: Before,
    health: Health | None,
) -> _socket.socket | None:
    request = process.request
    assert request is not None
    listener = attach.listen(claim.fd)
    # Before the monitor is there to read anything: so nothing is missed.
    visit = attach.connect_at(claim.fd) if attached else None
    directory = os.open(claim.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    events = claim.open_events()
    try:
        monitor = k.keep(
            launcher,
            _keeping(settings, process, claim, before, health),
            request.plan,
            directory=directory,
            run_directory=claim.fd,
            listener=listener.fileno(),
            events=events,
            streams=_ends(process),
            own=_own(process),
        )
        rootless.note(claim.run_root, monitor)
        return visit
    except BaseException:
        if visit is not None:
            visit.close()
        raise
    finally:
        os.close(directory)
        os.close(events)
        listener.close()


def _own(process: Process) -> tuple[int, ...]:
    """The plan's own descriptors: its network, which it finds again when it begins anew."""
    fd = process.wiring.fd if process.wiring is not None else -1
    return (fd,) if fd >= 0 else ()


def _ends(process: Process) -> list[int]:
    """Our ends of its streams, in the order that ``keep()`` wants."""
    if process.terminal_fd is not None:
        return [process.terminal_fd]
    pipes = (process.stdout, process.stderr, process.stdin)
    return [pipe.fileno() for pipe in pipes if pipe is not None]


def _keeping(
    settings: Settings, process: Process, claim: Claim, before: Before, health: Health | None
) -> k.Keeping:
    request, wiring = process.request, process.wiring
    assert request is not None
    flags = k.KEEP_PLAIN if settings.log_driver == "plain" else 0
    if settings.terminal:
        flags |= k.KEEP_TERMINAL
    elif settings.interactive:
        flags |= k.KEEP_STDIN
    act = last_act.command(claim)
    # Its ports could be another's at once, which their rules must not hinder.
    if act and (settings.remove or (wiring is not None and wiring.is_to_be_cleared)):
        flags |= k.KEEP_LAST_ACT
    if settings.userns != "host":  # its ids are given anew at each start, by us
        flags |= k.KEEP_AGAIN_BY_ACT
    return k.Keeping(
        flags=flags,
        clone_flags=request.clone_flags,
        restart=_RESTARTS[settings.restart],
        most_restarts=settings.restart_most,
        log_files=0 if settings.log_driver == "none" else settings.log_files,
        log_bytes=settings.log_bytes,
        id=claim.id,
        restarts=before.restarts,
        delay_ms=before.delay_ms,
        check_ms=0 if health is None else min(max(health.interval_ns // 10**6, 1), _MOST_MS),
        act=act,
    )
