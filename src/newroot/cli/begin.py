"""``newroot create``, ``start``, ``restart`` and ``attach``: containers that nobody waits for."""

from __future__ import annotations

from newroot.cli.end import CONTAINERS, TIME, engine_of, timeout_of
from newroot.cli.failures import each, explain
from newroot.cli.flags import Flag, Positional, Verb
from newroot.cli.run import CONTAINER_FLAGS, RUN, container_of, fetched, fetcher
from newroot.cli.verbs import VERBS
from newroot.errors import NewrootError, StepError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context
    from newroot.container.settings import Settings
    from newroot.engine import Engine


def _create(parsed: Parsed, context: Context) -> int:
    container_id, _ = _made(parsed, engine_of(context))
    print(container_id)
    return 0


def run_detached(parsed: Parsed, context: Context) -> int:
    """``newroot run -d``: print the id of a container that has been started."""
    with engine_of(context) as engine:
        container_id, settings = _made(parsed, engine)
        stays = False
        try:
            engine.start(container_id)
            stays = True
        except StepError as error:
            stays = not settings.remove  # as docker: to be looked at, and started again
            code = explain(error, debug=context.debug)
        else:
            code = 0
        finally:
            if not stays:
                engine.remove_container(container_id, force=True, with_volumes=True)
    if stays:
        print(container_id)
    return code


def _made(parsed: Parsed, engine: Engine) -> tuple[str, Settings]:
    settings, image, rootfs = container_of(parsed)
    path = parsed.text("cidfile")
    _check_id_file(path)
    container_id = engine.create(
        fetched(engine, image, parsed),
        rootfs=rootfs,
        settings=settings,
        fetch=fetcher(engine, parsed),
    )
    if path is not None:
        with open(path, "x", encoding="utf-8") as file:
            file.write(container_id)
    return container_id, settings


def _check_id_file(path: str | None) -> None:
    """Raise UsageError when ``--cidfile`` is there already, as Docker does."""
    import os

    if path is not None and os.path.lexists(path):
        raise UsageError(
            f"--cidfile {path}: it is there already", hint="remove it, or choose another name"
        )


def _start(parsed: Parsed, context: Context) -> int:
    names = parsed.positionals
    if parsed.is_set("all_restart"):
        return _start_all(parsed, context)
    if not names:
        raise UsageError("no container given", hint="newroot start CONTAINER, or --all-restart")
    with engine_of(context) as engine:
        if parsed.is_set("attach") or parsed.is_set("interactive"):
            if len(names) != 1:
                raise UsageError("only one container can be attached to at a time")
            return _stay(
                engine, names[0], parsed, interactive=parsed.is_set("interactive"), start=True
            )

        def start(name: str) -> None:
            engine.start(name)
            print(name)

        return each(names, start, debug=context.debug)


def _start_all(parsed: Parsed, context: Context) -> int:
    """What runs after a boot: one that does not start keeps no other from it."""
    if parsed.positionals or parsed.is_set("attach") or parsed.is_set("interactive"):
        raise UsageError("--all-restart goes with no container, and with nothing to attach to")
    codes = [0]

    def say(container_id: str, error: NewrootError | None) -> None:
        if error is None:
            print(container_id, flush=True)
        else:
            codes.append(explain(error, debug=context.debug))

    with engine_of(context) as engine:
        engine.start_all_restart(say)
    return max(codes)


def _restart(parsed: Parsed, context: Context) -> int:
    timeout = timeout_of(parsed)
    with engine_of(context) as engine:

        def restart(name: str) -> None:
            engine.stop(name, timeout=timeout)
            engine.start(name)
            print(name)

        return each(parsed.positionals, restart, debug=context.debug)


def _attach(parsed: Parsed, context: Context) -> int:
    with engine_of(context) as engine:
        interactive = not parsed.is_set("no_stdin")
        return _stay(engine, parsed.positionals[0], parsed, interactive=interactive, start=False)


def _stay(engine: Engine, name: str, parsed: Parsed, *, interactive: bool, start: bool) -> int:
    from newroot.container.foreground import Signals
    from newroot.container.terminal import window_size
    from newroot.container.visit import DETACH_KEYS, parse_keys, visit

    keys = parsed.text("detach_keys")
    keys = DETACH_KEYS if keys is None else keys
    parse_keys(keys)
    settings = engine.settings_of(name)
    sock = _connect(engine, name, settings, window_size(0), start=start)
    if sock is None:
        return 0

    def send(signal: int) -> None:
        try:
            engine.kill(name, signal)
        except NewrootError:
            pass  # it has just ended

    with Signals(send) as signals:
        code = visit(
            sock,
            terminal=settings.terminal,
            interactive=interactive and settings.interactive,
            detach_keys=keys,
            wakeup=signals.wakeup,
        )
    if code is None and engine.container(name).is_up:
        return 0  # he left
    return code if code is not None else engine.wait(name) or 0


def _connect(
    engine: Engine, name: str, settings: Settings, size: tuple[int, int], *, start: bool
) -> _socket.socket | None:
    if start:
        return engine.start_attached(name, size if settings.terminal else (0, 0))
    return engine.attach(name)


_DETACH_KEYS = Flag(
    name="detach-keys", metavar="KEYS", help="Leave the container by these: ctrl-p,ctrl-q"
)

CREATE = Verb(
    name="create",
    summary=VERBS["create"][1],
    run=_create,
    flags=CONTAINER_FLAGS,
    positionals=RUN.positionals,
    usage="newroot create [OPTIONS] (IMAGE | --rootfs DIR[:O]) [COMMAND [ARG...]]",
    stops_at_positional=True,
    details="The options are those of newroot run. The ID is printed; newroot start starts it.",
)

START = Verb(
    name="start",
    summary=VERBS["start"][1],
    run=_start,
    flags=(
        Flag(name="attach", short="a", help="Show what it says, until it ends, with its exit code"),
        Flag(name="interactive", short="i", help="The same, and hand on what is typed"),
        Flag(
            name="all-restart",
            help="All that are to run after a boot: restart policy always or unless-stopped",
        ),
        _DETACH_KEYS,
    ),
    positionals=(Positional(name="CONTAINER", optional=True, repeat=True, completes="container"),),
    details=(
        "One that was created, or has ended: it goes on with what it wrote into its root. It "
        "outlives this command. --all-restart is for the host's start: share/newroot has a unit "
        "for systemd and a script for other inits. It leaves what has never run, and, of those "
        "with unless-stopped, what somebody has stopped."
    ),
)

RESTART = Verb(
    name="restart",
    summary=VERBS["restart"][1],
    run=_restart,
    flags=(TIME,),
    positionals=CONTAINERS,
)

ATTACH = Verb(
    name="attach",
    summary=VERBS["attach"][1],
    run=_attach,
    flags=(Flag(name="no-stdin", help="Hand on nothing that is typed"), _DETACH_KEYS),
    positionals=(Positional(name="CONTAINER", completes="container"),),
    details=(
        "Several may be attached at once; each sees what the container says from then on. Signals "
        "go to the container."
    ),
)
