"""``Engine``'s part for containers that nobody waits for: created, started, stopped, looked into.

They belong to nobody.  Each verb finds the container by its name, its id, or the unambiguous
beginning of that, and first clears away what somebody's death has left.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from newroot.container.exec import Asked
    from newroot.container.lifecycle import Condition
    from newroot.container.logs import Entry
    from newroot.container.process import Result
    from newroot.container.records import Container
    from newroot.container.settings import Settings
    from newroot.container.source import Source
    from newroot.container.start import Starter
    from newroot.container.storage import ContainerStorage
    from newroot.plan.launcher import Launcher

_LOOK_AGAIN_S = 1.0  #: a monitor that was killed changes no file


class ContainerVerbs:
    """What ``Engine`` can do with containers that stay."""

    storage: ContainerStorage
    _starter: Starter

    def _sweep(self) -> None:
        raise NotImplementedError

    def _get_launcher(self) -> Launcher:
        raise NotImplementedError

    def _source(
        self, image: str | None, rootfs: str | None, fetch: Callable[[str], str] | None = None
    ) -> Source:
        raise NotImplementedError

    def on_warning(self, told: Callable[[str], object]) -> None:
        """Call *told* with a word of what a container is started without, or otherwise than asked.

        What is refused is raised; this is for what is not.
        """
        self._starter.blueprints.on_warning = told

    def create(
        self,
        image: str | None = None,
        command: Sequence[str] | str = (),
        *,
        rootfs: str | None = None,
        settings: Settings | None = None,
        fetch: Callable[[str], str] | None = None,
        **words: Any,
    ) -> str:
        """Make a container, to be started by ``start()``; return its id.

        The arguments are ``run()``'s; nothing is thrown away unless *rm* says so.  An image that
        is not here is first asked of *fetch*, which brings it and returns its name.  Raises
        UsageError, NotFound, ImageError, SpecError; AlreadyExists when its name is taken.
        """
        from newroot.container.detached import create
        from newroot.container.python_words import command_of, settings_of

        source, said = self._source(image, rootfs, fetch), command_of(command)
        if settings is None:
            settings = settings_of({"rm": False, "upper": "disk", **words})
        return create(self._starter, self.storage, settings, source, said)

    def start(self, name: str) -> None:
        """Start a container that was created, or has ended; nothing if it runs.

        It goes on when this process ends.  Raises NotFound, and StepError when a step failed or
        the command is not there.
        """
        from newroot.container.detached import start

        start(self._starter, self.storage, self._find(name))

    def start_attached(
        self, name: str, terminal_size: tuple[int, int] = (0, 0)
    ) -> _socket.socket | None:
        """The same, with a connection to its monitor that misses nothing: container/visit.py."""
        from newroot.container.detached import start

        return start(
            self._starter,
            self.storage,
            self._find(name),
            terminal_size=terminal_size,
            attached=True,
        )

    def attach(self, name: str) -> _socket.socket:
        """A connection to the monitor of a container that runs: container/visit.py.

        Raises NotFound, WrongStatus.
        """
        from newroot.container.attach import connect

        return connect(self.storage, self._find(name))

    def exec(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: str | None = None,
        privileged: bool = False,
        input: bytes | None = None,
        timeout: float | None = None,
        check: bool = False,
    ) -> Result:
        """Run another command in a container that runs, wait for it, and return how it ended.

        In the container's environment and directory, as its user, unless told otherwise; in all
        its namespaces and its cgroup, confined as it is unless *privileged*.  What the command
        says is captured, as bytes.  *timeout* is in seconds; at its end the command is killed.

        Raises NotFound, WrongStatus when the container does not run, UsageError; with *check*
        ``subprocess.CalledProcessError``.
        """
        from newroot.container.exec import Asked, exec_in
        from newroot.container.pipes import DEVNULL, PIPE, open_stdio
        from newroot.container.python_words import command_of

        asked = Asked(
            command=command_of(command),
            env=tuple((env or {}).items()),
            cwd=cwd,
            user=user,
            privileged=privileged,
        )
        stdio = open_stdio(DEVNULL if input is None else PIPE, PIPE, PIPE)
        container_id = self._find(name)
        process = exec_in(self.storage, container_id, asked, self._get_launcher(), stdio)
        try:
            out, err = process.run_to_end(input, timeout)
        except BaseException:
            process.close()
            raise
        finally:
            process.close_pipes()
        result = process.result(out, err)
        self.storage.note(container_id, "exec_die", exitCode=str(result.returncode))
        if check:
            result.check_returncode()
        return result

    def exec_foreground(self, name: str, asked: Asked, *, interactive: bool) -> int:
        """The same on this process's own streams; return Docker's exit code for it."""
        from newroot.container.exec import exec_in
        from newroot.container.foreground import attend
        from newroot.container.stdio import inherited
        from newroot.record import replace

        container_id = self._find(name)
        stdio, size = inherited(terminal=asked.terminal, interactive=interactive)
        asked = replace(asked, terminal_size=size)
        process = exec_in(self.storage, container_id, asked, self._get_launcher(), stdio)
        code = attend(process, interactive=interactive, on_start=lambda: None)
        self.storage.note(container_id, "exec_die", exitCode=str(code))
        return code

    def exec_detached(self, name: str, asked: Asked) -> None:
        """Start a command in a container that runs, and leave it to that.

        What it says goes nowhere.  Raises StepError when it could not be started.
        """
        from newroot.container.exec import exec_in
        from newroot.container.pipes import DEVNULL, open_stdio
        from newroot.plan.launcher import Launcher
        from newroot.record import replace

        container_id = self._find(name)
        launcher = Launcher()
        try:
            stdio = open_stdio(DEVNULL, DEVNULL, DEVNULL)
            asked = replace(asked, stays=True)
            process = exec_in(self.storage, container_id, asked, launcher, stdio)
            try:
                process.wait_started()
            except BaseException:
                process.close()
                raise
            process.hand_over()
            launcher.let_go()
        finally:
            if not launcher.is_gone:
                launcher.close()

    def stop(self, name: str, *, signal: int | None = None, timeout: float | None = None) -> None:
        """Ask a container to end, and kill it when it has not after *timeout* seconds.

        By default with its own signal, within its own time.  Nothing if it does not run.
        """
        from newroot.container.lifecycle import stop

        stop(self.storage, self._find(name), signal=signal, seconds=timeout)
        self._sweep()

    def kill(self, name: str, signal: int = 9) -> None:
        """Send a signal to a container's first process.  Raises NotFound, WrongStatus.

        One that was killed, or sent the signal that it is stopped by, does not begin anew.
        """
        from newroot.container.lifecycle import kill

        kill(self.storage, self._find(name), signal)

    def wait(self, name: str, condition: Condition = "not-running") -> int | None:
        """Wait until a container has ended; return its exit code, 128+n after signal n.

        *condition* may also be ``next-exit``, for which one that does not run must have begun, or
        ``removed``.  None when nobody lived to see its end.
        """
        from newroot.container.events import last_exit_code
        from newroot.container.lifecycle import wait_for
        from newroot.container.records import container

        container_id = self._find(name)
        wait_for(self.storage, container_id, condition)
        self._sweep()
        found = container(self.storage, container_id)
        if found is None:
            return last_exit_code(self.storage.journal, container_id)
        return found.exit_code

    def logs(self, name: str, *, last: int | None = None, follow: bool = False) -> Iterator[Entry]:
        """What a container has said, or the *last* so many entries of it.

        With *follow* also what it says from now on, until it has ended.  One that was never started
        has said nothing.  Raises NotFound.
        """
        from newroot.container.logs import Log

        container_id = self._find(name)
        if self.container(container_id).status == "created":
            return iter(())
        log = Log(self.storage.directory(container_id))
        return self._followed(log, container_id, last) if follow else log.entries(last=last)

    def _followed(self, log: Any, container_id: str, last: int | None) -> Iterator[Entry]:
        from newroot.linux.watch import Watch

        with Watch(self.storage.directory(container_id)) as watch:

            def wait() -> bool:
                # Asked first: what was written before it ended is read after this.
                running = self.storage.is_running(container_id)
                return running and (watch.wait(_LOOK_AGAIN_S) or True)

            yield from log.follow(wait, last=last)

    def container(self, name: str) -> Container:
        """What is known of one container.  Raises NotFound."""
        from newroot.container.records import container
        from newroot.errors import NotFound

        found = container(self.storage, self._find(name))
        if found is None:
            raise NotFound(f"no container {name}")
        return found

    def settings_of(self, name: str) -> Settings:
        """What was asked of a container.  Raises NotFound, StateError for a damaged record."""
        from newroot.container.kept_settings import read_settings

        return read_settings(self.storage.record(self._find(name)).get("settings") or {})

    def _find(self, name: str) -> str:
        self._sweep()
        return self.storage.resolve(name)
