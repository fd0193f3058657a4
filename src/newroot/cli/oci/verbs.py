"""Every verb of ``newroot-oci``: its name, where it lives, its line in the help; what all are told.

A verb's own table stands in its module, which is imported when that verb is called.
"""

from __future__ import annotations

from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Verb


@record
class OciContext:
    """What every verb is told beside its own arguments: the global flags, defaults filled in."""

    root: str  #: one directory a container: container/oci_state.py
    cgroup_manager: str = "cgroupfs"  #: cgroupfs, systemd or disabled
    rootless: str = "auto"  #: whether to do without cgroups that cannot be made: true, false, auto
    criu: str = "criu"
    debug: bool = False


#: name -> (``module:TABLE`` below newroot.cli.oci, summary).  A summary is the table's own.
VERBS: dict[str, tuple[str, str]] = {
    "create": ("create:CREATE", "Create a container of a bundle"),
    "start": ("start:START", "Execute the command of a created container"),
    "run": ("run:RUN", "Create a container and start it"),
    "exec": ("exec:EXEC", "Run another command in a container"),
    "kill": ("kill:KILL", "Send a signal to a container"),
    "delete": ("delete:DELETE", "Remove a container that has stopped"),
    "list": ("list_:LIST", "List containers"),
    "ps": ("ps:PS", "List a container's processes"),
    "pause": ("pause:PAUSE", "Stop all of a container's processes where they are"),
    "resume": ("pause:RESUME", "Let the processes of a paused container go on"),
    "update": ("update:UPDATE", "Change a container's limits"),
    "events": ("events:EVENTS", "Tell what a container uses, and that it was short of memory"),
    "checkpoint": ("checkpoint:CHECKPOINT", "Write a running container down, by criu"),
    "restore": ("restore:RESTORE", "Let a container go on from its checkpoint, by criu"),
    "features": ("features:FEATURES", "Show what this runtime knows, as JSON"),
    "spec": ("spec:SPEC", "Write a config.json to begin with"),
    "state": ("state:STATE", "Show a container's state, as JSON"),
}


def load_verb(name: str) -> Verb:
    """The table of the verb *name*."""
    module, _, table = VERBS[name][0].partition(":")
    verb: Verb = getattr(__import__(f"newroot.cli.oci.{module}", fromlist=(table,)), table)
    return verb
