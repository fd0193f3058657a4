"""``newroot-oci``: find the verb, read its words, run it; what goes wrong goes to log.py.

On the road of every container that an engine starts, so it imports what it needs when it needs it.
"""

from __future__ import annotations

import os
import sys

from newroot.cli.flags import Flag, check_positionals, parse_words
from newroot.cli.oci.verbs import VERBS, OciContext, load_verb
from newroot.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Parsed

_HELP = Flag(name="help", help="Show this help and exit")
GLOBAL_FLAGS = (
    Flag(name="root", metavar="DIR", help="Where the state of the containers is kept"),
    Flag(name="log", metavar="FILE", help="Write errors to FILE too"),
    Flag(name="log-format", metavar="FORMAT", choices=("text", "json"), help="How they look there"),
    Flag(name="debug", help="Show where in newroot an error came from"),
    Flag(name="systemd-cgroup", help="The same as --cgroup-manager systemd"),
    Flag(
        name="cgroup-manager",
        metavar="MANAGER",
        choices=("cgroupfs", "systemd", "disabled"),
        help="Who makes cgroups",
    ),
    Flag(
        name="rootless",
        metavar="WHEN",
        choices=("true", "false", "auto"),
        help="Whether cgroups that cannot be made are done without",
    ),
    Flag(name="criu", metavar="FILE", help="The criu to checkpoint and restore with"),
    Flag(name="version", short="v", help="Show the versions and exit"),
    _HELP,
)

FAILED = 1  #: runc's exit code for whatever it could not do
EXEC_FAILED = 255  #: and what its exec makes of it: any other code may be the command's own
NO_VERB = 3


def main(argv: list[str] | None = None) -> int:
    """Run ``newroot-oci`` with *argv*, without the program's own name; return the exit code."""
    words = sys.argv[1:] if argv is None else argv
    before: Parsed | None = None
    try:
        before = parse_words(words, GLOBAL_FLAGS, where="newroot-oci", stops_at_positional=True)
        return _dispatch(before)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), 1)
        return FAILED
    except Exception as error:
        from newroot.cli.oci.log import tell

        tell(error, before)
        verb = before.positionals[0] if before is not None and before.positionals else ""
        return EXEC_FAILED if verb == "exec" else FAILED


def _dispatch(before: Parsed) -> int:
    if before.is_set("version"):
        return _version()
    if before.is_set("help") or not before.positionals:
        return _help()
    name, *rest = before.positionals
    if name not in VERBS:
        from newroot.cli.oci.log import tell

        hint = f"there are {', '.join(VERBS)}"
        tell(UsageError(f"no command {name!r}", hint=hint), before)
        return NO_VERB
    verb = load_verb(name)
    parsed = parse_words(
        rest,
        (*verb.flags, _HELP),
        where=f"newroot-oci {name}",
        stops_at_positional=verb.stops_at_positional,
    )
    if parsed.is_set("help"):
        from newroot.cli.help import print_verb

        return print_verb(verb, "newroot-oci")
    check_positionals(verb, parsed.positionals, "newroot-oci")
    return verb.run(parsed, _context(before))


def _context(before: Parsed) -> OciContext:
    root = before.text("root")
    if root is None:
        from newroot.container.places import default_oci_root

        root = default_oci_root(os.environ, os.geteuid())
    manager = before.text("cgroup_manager")
    if manager is None:
        manager = "systemd" if before.is_set("systemd_cgroup") else "cgroupfs"
    return OciContext(
        root=os.path.abspath(root),
        cgroup_manager=manager,
        rootless=before.text("rootless") or "auto",
        criu=before.text("criu") or "criu",
        debug=before.is_set("debug"),
    )


def _help() -> int:
    from newroot.cli.help import flag_groups

    print("usage: newroot-oci [OPTIONS] COMMAND [ARG...]\n\nCommands:")
    for name, (_, summary) in VERBS.items():
        print(f"  {name:10} {summary}")
    print("\n" + "\n\n".join(flag_groups(GLOBAL_FLAGS)))
    return 0


def _version() -> int:
    from newroot.container.config import OCI_VERSION
    from newroot.version import VERSION

    # The form that dockerd and podman read it in is runc's.
    print(f"newroot-oci version {VERSION}\nspec: {OCI_VERSION}")
    return 0
