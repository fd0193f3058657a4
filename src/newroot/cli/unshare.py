"""``newroot unshare``: a command in the user's namespace, as root there.

What a container wrote belongs to ids that an ordinary user may not touch from outside; in here they
are root's.
"""

from __future__ import annotations

import os

from newroot.cli.flags import Positional, Verb
from newroot.cli.verbs import VERBS
from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed
    from newroot.cli.verbs import Context


def _unshare(parsed: Parsed, context: Context) -> int:
    command = parsed.positionals or (os.environ.get("SHELL") or "/bin/sh",)
    env = dict(os.environ)
    if parsed.text("root") is not None:
        env["NEWROOT_ROOT"] = context.root
    if parsed.text("run_root") is not None:
        env["NEWROOT_RUN_ROOT"] = context.run_root
    try:
        os.execvpe(command[0], list(command), env)
    except OSError as error:
        raise UsageError(f"execute {command[0]}: {error.strerror}") from error


UNSHARE = Verb(
    name="unshare",
    summary=VERBS["unshare"][1],
    run=_unshare,
    positionals=(Positional(name="COMMAND", optional=True, repeat=True),),
    usage="newroot unshare [COMMAND [ARG...]]",
    stops_at_positional=True,
    details=(
        "For an ordinary user: COMMAND, or a shell, runs in the user namespace that all of the "
        "user's containers are in, where the files that they wrote can be read and removed. For "
        "root it is the command alone."
    ),
    examples=(("look at what containers wrote", "newroot unshare ls -l ~/.local/share/newroot"),),
)
