"""Where image and container meet: ``Engine``, and the functions for a first minute.

An engine keeps one launcher, started at first use, and the blueprints of what it has started.
Nothing runs when it is closed: what it started it ends.
"""

from __future__ import annotations

import _thread
import _warnings
import _weakref
import os

from newroot.container import places
from newroot.container.pipes import PIPE, open_stdio
from newroot.container.python_words import command_of, settings_of
from newroot.container.settings import Settings, check_source
from newroot.container.source import Source, directory_source, stamp
from newroot.container.start import Starter
from newroot.container.storage import ContainerStorage
from newroot.engine_boot import BootVerbs
from newroot.engine_branches import BranchVerbs
from newroot.engine_containers import ContainerVerbs
from newroot.engine_copy import CopyVerbs
from newroot.engine_health import HealthVerbs
from newroot.engine_images import ImageVerbs
from newroot.engine_look import LookVerbs
from newroot.engine_manage import ManageVerbs
from newroot.engine_networks import NetworkVerbs
from newroot.engine_volumes import VolumeVerbs
from newroot.errors import UsageError
from newroot.images.store import ImageStore
from newroot.oci.image import read_run_config
from newroot.plan.launcher import Launcher
from newroot.rootfs.volumes import VolumeStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from newroot.container.foreground import OnTimes
    from newroot.container.process import Process, Result
    from newroot.container.records import Container
    from newroot.plan.steps import Plan


#: The engines of this process, for the child of a fork: weak references.
_engines: set[_weakref.ref[Engine]] = set()


class Engine(
    ContainerVerbs,
    BootVerbs,
    BranchVerbs,
    CopyVerbs,
    HealthVerbs,
    ImageVerbs,
    LookVerbs,
    ManageVerbs,
    NetworkVerbs,
    VolumeVerbs,
):
    """Runs containers.  A context manager; may be used from several threads at once.

    *root* is where images, containers and volumes are kept: by default ``$NEWROOT_ROOT``, else
    /var/lib/newroot, for a user without privileges ``$XDG_DATA_HOME/newroot``.  *run_root* is
    where what runs is noted: by default ``$NEWROOT_RUN_ROOT``, else a place that a reboot empties.
    Nothing is made before the first start.  *layers_as* is how new layers of images are kept,
    ``"directories"`` or, as root on Linux 6.12, ``"erofs"``; by default ``$NEWROOT_LAYERS``.

    Containers belong to the engine: they are killed when it is closed, and when this process
    dies, by whatever death.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        run_root: str | None = None,
        layers_as: str | None = None,
    ) -> None:
        uid = os.geteuid()
        self.root = os.path.abspath(root or places.default_root(os.environ, uid))
        self.run_root = os.path.abspath(
            run_root or places.default_run_root(os.environ, uid, self.root)
        )
        self.images = ImageStore(self.root, layers_as=layers_as)
        self.volumes = VolumeStore(self.root)
        self.storage = ContainerStorage(self.root, self.run_root)
        self._starter = Starter(self.storage, self.volumes, self._get_launcher)
        self._lock = _thread.allocate_lock()
        self._launcher: Launcher | None = None
        self._sources: dict[str, tuple[object, Source]] = {}
        self._processes: set[Process] = set()
        self._closed = False
        _engines.add(_weakref.ref(self, _engines.discard))

    # ---- the launcher ----

    def _get_launcher(self) -> Launcher:
        with self._lock:
            if self._closed:
                raise UsageError("this engine is closed")
            if self._launcher is not None and self._launcher.is_gone:
                self._launcher.close()  # somebody killed it: the next one does its work
                self._launcher = None
            if self._launcher is None:
                self._sweep()
                self._launcher = Launcher()
            return self._launcher

    def _forget_parent(self) -> None:
        """After a fork, in the child: what was started is the parent's, and so are its locks."""
        self._lock = _thread.allocate_lock()
        for process in self._processes:
            process.abandon()
        self._processes = set()
        if self._launcher is not None:
            self._launcher.abandon()
            self._launcher = None

    def _sweep(self) -> None:
        from newroot.container.sweep import sweep

        sweep(self.storage, self.volumes)

    def close(self) -> None:
        """Kill what still runs, wait for it, and end the launcher.  May be called again."""
        with self._lock:
            self._closed = True
            launcher, self._launcher = self._launcher, None
        for process in list(self._processes):
            process.end_by_engine()
        if launcher is not None:
            launcher.close()
        for process in list(self._processes):  # those that were being started meanwhile
            process.end_by_engine()
        self._processes.clear()

    def __del__(self, _warn: Callable[..., None] = _warnings.warn) -> None:
        if getattr(self, "_launcher", None) is not None:
            _warn(f"unclosed {self!r}", ResourceWarning, source=self)
            self.close()

    def __repr__(self) -> str:
        return f"Engine({self.root!r})"

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # ---- running ----

    def run(
        self,
        image: str | None = None,
        command: Sequence[str] | str = (),
        *,
        rootfs: str | None = None,
        settings: Settings | None = None,
        input: bytes | str | None = None,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        capture_output: bool = False,
        text: bool = False,
        timeout: float | None = None,
        check: bool = False,
        **words: Any,
    ) -> Result:
        """Run a command in a container of its own, wait for it, and return how it ended.

        *image* is a name or an ID of ``engine.images``; *rootfs* in its place is a directory,
        ``DIR`` as it is or ``DIR:O`` under a throw-away overlay.  An empty *command* is the
        image's.  *words* are ``newroot run``'s flags with underscores (docs/reference/settings.md);
        *settings* holds them all, read already, and a command for when none is given.

        As ``subprocess.run``: *capture_output*, *input*, *stdin*, *stdout*, *stderr*, *text*,
        *check*.  Standard input is empty unless given, output goes where this process's does.
        *timeout* is in seconds; at its end the container is killed, and the result says so in
        ``fault``, with what was said until then.

        What the container writes into its root is forgotten with it, and kept in memory until
        then; ``upper="disk"`` puts it on the disk of the engine's root instead.

        Raises UsageError, NotFound, ImageError or SpecError for what was asked, SyscallError or
        StepError when the container could not be made; nothing of it is left then.  With *check*,
        ``subprocess.CalledProcessError``.  A command that is not there is a result: ``fault`` is
        ``start``, and ``error`` says more.
        """
        if capture_output:
            if stdout is not None or stderr is not None:
                raise UsageError("capture_output goes with neither stdout nor stderr")
            stdout = stderr = PIPE
        if input is not None:
            if stdin is not None:
                raise UsageError("input goes without stdin")
            stdin = PIPE
            input = input.encode() if isinstance(input, str) else input
        process = self.popen(
            image,
            command,
            rootfs=rootfs,
            settings=settings,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            _wait=False,
            **words,
        )
        try:
            out, err = process.run_to_end(input, timeout)
        except BaseException:
            process.close()
            raise
        finally:
            self.forget(process)
            process.close_pipes()
        result = process.result(*((_decode(out), _decode(err)) if text else (out, err)))
        if check:
            result.check_returncode()
        return result

    def popen(
        self,
        image: str | None = None,
        command: Sequence[str] | str = (),
        *,
        rootfs: str | None = None,
        settings: Settings | None = None,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        _wait: bool = True,
        **words: Any,
    ) -> Process:
        """Start a command in a container of its own, and return when it runs.

        As ``subprocess.Popen``; see ``run()`` for the arguments and the errors.  Raises StepError
        also when the command is not there.  The process belongs to the engine, and ends with it.
        """
        source, said = self._source(image, rootfs), command_of(command)
        if settings is not None and words:
            raise UsageError("settings go without words: they hold them all")
        wanted = settings_of(words) if settings is None else settings
        if wanted.terminal and not _wait:
            raise UsageError(
                "run() has nobody at a terminal", hint="popen() has: see its terminal_fd"
            )
        process = self._starter.start(
            wanted, source, open_stdio(stdin, stdout, stderr), said or None, more=True
        )
        process.on_end = self.forget
        self._processes.add(process)
        if _wait:
            try:
                process.wait_started()
            except BaseException:
                process.close()
                raise
        return process

    async def run_async(
        self, image: str | None = None, command: Sequence[str] | str = (), **arguments: Any
    ) -> Result:
        """``run()`` for asyncio, with the same arguments, result and errors.

        Cancelling it ends the container.
        """
        from newroot.engine_async import run_async

        return await run_async(self.popen, image, command, **arguments)

    def forget(self, process: Process) -> None:
        """No longer end *process* with the engine: it has ended, or is the caller's to end."""
        self._processes.discard(process)

    # ---- what is there ----

    def containers(self) -> tuple[Container, ...]:
        """The containers that run, and those that stay, the newest first.

        A container of the library's that is thrown away at its end is among them only while it
        runs, and only if it has a name, a limit or its upper on the disk: the others leave no
        trace to find.
        """
        from newroot.container.records import containers

        return containers(self.storage)

    def remove_container(
        self, name: str, *, force: bool = False, with_volumes: bool = False
    ) -> None:
        """Remove a container, by its name, its id, or the unambiguous beginning of that.

        *force* kills one that runs.  *with_volumes* takes its anonymous volumes along.  Raises
        NotFound, and WrongStatus when it runs and *force* is not given; it is then as it was.
        """
        from newroot.container.delete import delete

        self._sweep()
        container_id = self.storage.resolve(name)
        delete(self.storage, self.volumes, container_id, force=force, with_volumes=with_volumes)

    # ---- for the command line ----

    def run_foreground(
        self,
        settings: Settings,
        *,
        image: str | None = None,
        rootfs: str | None = None,
        on_times: OnTimes | None = None,
        fetch: Callable[[str], str] | None = None,
    ) -> int:
        """Run a container on this process's own streams; return Docker's exit code for it.

        An image that is not here is first asked of *fetch*, which brings it and returns its name.
        Signals are forwarded.  With a terminal, this process's own is raw meanwhile.
        *on_times* is told what each step of the start took.
        """
        from newroot.container.foreground import run_foreground

        source = self._source(image, rootfs, fetch)
        return run_foreground(self._starter, settings, source, on_times)

    def explain(
        self, settings: Settings, *, image: str | None = None, rootfs: str | None = None
    ) -> str:
        """The start of a container as a shell script; nothing is started."""
        from newroot.plan.shell import render

        return render(self.plan(settings, image=image, rootfs=rootfs))

    def plan(
        self, settings: Settings, *, image: str | None = None, rootfs: str | None = None
    ) -> Plan:
        """The steps of a start that does not take place."""
        return self._starter.explain(settings, self._source(image, rootfs))

    # ---- sources ----

    def _source(
        self, image: str | None, rootfs: str | None, fetch: Callable[[str], str] | None = None
    ) -> Source:
        check_source(image, rootfs)
        if rootfs is not None:
            return self._directory(rootfs)
        assert image is not None
        # The store's index is replaced, never written to.
        now = stamp(f"{self.images.images}/index.json")
        known = self._sources.get(image)
        if known is not None and now is not None and known[0] == now:
            return known[1]
        found = self.images.find(image) if fetch is not None else self.images.get(image)
        if found is None:
            assert fetch is not None
            return self._source(fetch(image), None)
        source = Source(
            lower=found.layers,
            image=read_run_config(found.config.get("config") or {}),
            name=image,
            key=found.digest,
        )
        self._sources[image] = (now, source)
        return source

    def _directory(self, words: str) -> Source:
        """A directory's source, which holds for as long as it is a directory."""
        known = self._sources.get(words)
        if known is not None and os.path.isdir(known[1].layers[0]):
            return known[1]
        source = directory_source(words)
        if os.path.isabs(words):
            self._sources[words] = (None, source)
        return source


def _decode(data: bytes | None) -> str | None:
    return None if data is None else data.decode(errors="surrogateescape")


def _after_fork_in_child() -> None:
    for reference in list(_engines):
        engine = reference()
        if engine is not None:
            engine._forget_parent()


os.register_at_fork(after_in_child=_after_fork_in_child)
