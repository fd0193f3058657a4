"""What went wrong, in words and as an exit code: the one place where newroot speaks of failures.

The codes are Docker's: 125 for what newroot could not do, 126 and 127 for a command that could
not be started, 128+n after signal n, and otherwise the command's own.
"""

from __future__ import annotations

import errno
import sys

from newroot.errors import BugError, NewrootError, StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ENGINE_FAILED = 125
NOT_EXECUTABLE = 126
NOT_FOUND = 127


def explain(error: Exception, *, debug: bool) -> int:
    """Say on stderr what *error* is, and what to try; return its exit code."""
    if debug:
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    ours = error if isinstance(error, NewrootError) else as_ours(error)
    say(f"newroot: {ours}")
    if ours.hint:
        say(f"hint: {ours.hint}")
    return exit_code(ours)


def each(names: Iterable[str], action: Callable[[str], None], *, debug: bool) -> int:
    """Do *action* for every name, also after one of them failed; return the last failure's code."""
    code = 0
    for name in names:
        try:
            action(name)
        except NewrootError as error:
            sys.stdout.flush()  # what was done stands before what was not
            code = explain(error, debug=debug)
    return code


def exit_code(error: NewrootError) -> int:
    """Docker's exit code for *error*."""
    if isinstance(error, StepError) and error.step.startswith("execute "):
        # 127 when there is no such command, 126 when it is there and cannot be run.
        return NOT_FOUND if error.errno in (errno.ENOENT, errno.ENOTDIR) else NOT_EXECUTABLE
    return ENGINE_FAILED


def as_ours(error: Exception) -> NewrootError:
    """*error* as one of ours, for it was none: the system's, or a bug."""
    if isinstance(error, OSError):
        code = errno.errorcode.get(error.errno or 0, "")
        target = f", on {error.filename}" if error.filename else ""
        return NewrootError(f"{error.strerror or error}{code and f' ({code})'}{target}")
    return BugError(
        f"this should never happen: {type(error).__name__}: {error}",
        hint="please file a bug with what newroot --debug says",
    )


def say(line: str) -> None:
    """Print *line* on stderr."""
    # One line each, and no control character of a stranger's reaches the terminal as one.
    text = "".join(c if c.isprintable() or c == "\t" else ascii(c)[1:-1] for c in line)
    try:
        print(text, file=sys.stderr)
    except (OSError, ValueError):
        pass  # stderr is closed: the exit code still tells
