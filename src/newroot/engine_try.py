"""Try a command on the host itself: see what it changes, then apply that or drop it.

What an ``Engine`` is to images, a ``Trials`` is to the host's own root.
"""

from __future__ import annotations

import os

from newroot.container import trial
from newroot.engine import Engine
from newroot.errors import NotFound, StateError, UsageError
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from newroot.container.records import Container


@record
class Tried:
    """A command that was tried."""

    id: str  #: to be applied or dropped by
    exit_code: int  #: as a shell would have it
    changes: tuple[tuple[str, str], ...]  #: ``A``, ``C`` or ``D``, and the path


class Trials:
    """The commands that were tried, and are neither applied nor dropped yet.  A context manager.

    *scratch* is where what they write is kept: on a file system other than the root's, by default
    in memory.  Raises UsageError when there is no such place, or for a user without privileges.
    """

    def __init__(self, scratch: str | os.PathLike[str] | None = None) -> None:
        from newroot.linux.user_namespaces import is_in_user_namespace

        uid = os.geteuid()
        if uid != 0 or is_in_user_namespace():  # what is mounted below / is locked to it there
            raise UsageError(
                "try needs root: it makes an overlay of the host's own root",
                hint="newroot run IMAGE runs a command on a root that is forgotten with --rm",
            )
        if scratch is None:
            self.scratch = trial.default_scratch(os.environ, uid)
        else:
            self.scratch = trial.check_scratch(os.path.abspath(scratch))
        self._engine = Engine(self.scratch, run_root=f"{self.scratch}/run")

    def __enter__(self) -> Trials:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.close()

    def run(self, command: Sequence[str], *, terminal: bool = False) -> Tried:
        """Run *command* on this process's own streams, as it would run here, but that what it
        writes goes elsewhere; return what it changed.

        What is on other file systems than the root's it sees read-only, but for /proc, /sys, /dev
        and /run, which are the host's own.
        """
        from newroot.container.foreground import run_foreground
        from newroot.container.python_words import command_of

        os.makedirs(self.scratch, mode=0o700, exist_ok=True)
        token = os.urandom(8).hex()
        settings = trial.settings_for(
            command_of(command), os.environ, os.getcwd(), token=token, terminal=terminal
        )
        code = run_foreground(self._engine._starter, settings, trial.host_source(), None)
        (found,) = (c for c in self._engine.containers() if (trial.LABEL, token) in c.labels)
        return Tried(id=found.id, exit_code=code, changes=tuple(self.changes(found.id)))

    def tried(self) -> tuple[Container, ...]:
        """Those that are neither applied nor dropped, the newest first."""
        self._engine._sweep()
        return tuple(c for c in self._engine.containers() if dict(c.labels).get(trial.LABEL))

    def changes(self, tried: str) -> list[tuple[str, str]]:
        """What a command has changed: ``A``, ``C`` or ``D``, and the path.  Raises NotFound."""
        from newroot.engine_files import files_of

        made = files_of(self._engine.storage, self._find(tried)).made
        return [
            (kind, path)
            for kind, path in self._engine.diff(tried)
            if os.fsencode(path[1:]) not in made  # the place of a mount, not what it changed
        ]

    def apply(self, tried: str) -> int:
        """Change the host as the command has changed its overlay; return how many paths it were.

        Raises NotFound, and StateError while it runs, or when something of it has been changed on
        the host since it began; nothing is applied then.  What was applied is dropped.
        """
        from newroot.engine_files import files_of
        from newroot.rootfs.apply import apply

        found = self._engine.container(self._find(tried))
        if found.is_up:
            raise StateError(f"apply {tried}: its command is running", hint="wait for its end")
        files = files_of(self._engine.storage, found.id)
        since_ns = int(found.created * 1e9) - trial.COARSE_NS
        count = apply(files.uppers, "/", since_ns, made=files.made)
        self.drop(found.id)
        return count

    def drop(self, tried: str) -> None:
        """Forget what a command has changed.  Raises NotFound, WrongStatus while it runs."""
        self._engine.remove_container(self._find(tried))

    def _find(self, tried: str) -> str:
        try:
            return self._engine.container(tried).id
        except NotFound:
            raise NotFound(f"nothing tried is {tried}", hint="newroot try ls shows all") from None
