"""Every verb of ``newroot``: its name, where it lives, its line in the help; what all are told.

A verb's own table stands in its module, which is imported when that verb is called.  So this page
is all that a start pays for the verbs it does not use.
"""

from __future__ import annotations

from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from newroot.cli.flags import Verb


@record
class Context:
    """What every verb is told beside its own arguments: the global flags, defaults filled in."""

    root: str  #: images, layers, containers, volumes
    run_root: str  #: what runs now
    debug: bool = False


#: name -> (``module:TABLE``, summary, heading in the help).  A summary is the table's own.
VERBS: dict[str, tuple[str, str, str]] = {
    "run": ("run:RUN", "Run a command in a new container", "Containers"),
    "create": ("begin:CREATE", "Make a container that newroot start starts", "Containers"),
    "start": ("begin:START", "Start containers that were created or have ended", "Containers"),
    "exec": ("exec_:EXEC", "Run another command in a container that runs", "Containers"),
    "stop": ("end:STOP", "Ask containers to end, and kill those that do not", "Containers"),
    "restart": ("begin:RESTART", "Stop containers and start them again", "Containers"),
    "kill": ("end:KILL", "Send containers a signal", "Containers"),
    "wait": ("end:WAIT", "Wait until containers have ended; print their exit codes", "Containers"),
    "cp": ("cp:COPY", "Copy files into a container, or out of it", "Containers"),
    "healthcheck run": (
        "healthcheck:HEALTHCHECK",
        "Ask whether a container is well",
        "Containers",
    ),
    "logs": ("logs:LOGS", "Show what a detached container has said", "Containers"),
    "attach": ("begin:ATTACH", "Make a running container's streams ours", "Containers"),
    "ps": ("ps:LIST", "List containers", "Containers"),
    "inspect": ("inspect:INSPECT", "Show all that is known of things, as JSON", "Containers"),
    "container inspect": (
        "inspect:CONTAINER",
        "Show all that is known of containers, as JSON",
        "Containers",
    ),
    "top": ("top:TOP", "Show the processes of a container", "Containers"),
    "stats": ("stats:STATS", "Show what containers use", "Containers"),
    "port": ("port:PORT", "Show what ports of a container are published", "Containers"),
    "pause": ("change:PAUSE", "Stop containers' processes where they are", "Containers"),
    "unpause": ("change:UNPAUSE", "Let paused containers go on", "Containers"),
    "rename": ("change:RENAME", "Give a container another name", "Containers"),
    "update": ("change:UPDATE", "Change containers' limits and restart policy", "Containers"),
    "container prune": ("prune:CONTAINERS", "Remove containers that do not run", "Containers"),
    "rm": ("rm:REMOVE", "Remove containers", "Containers"),
    "fork": ("branch:FORK", "Make a container whose root is what another's is now", "Branches"),
    "snapshot": ("branch:SNAPSHOT", "Keep a container's root as it is now", "Branches"),
    "rollback": ("branch:ROLLBACK", "Make a container's root what it was", "Branches"),
    "snapshots": ("branch:SNAPSHOTS", "Draw what was kept and forked", "Branches"),
    "snapshots rm": ("branch:REMOVE", "Forget snapshots of a container", "Branches"),
    "try": ("try_:TRY", "Run a command on an overlay of the host, and see what it changes", "Host"),
    "try ls": ("try_:LIST", "List what was tried", "Host"),
    "try diff": ("try_:DIFF", "Show again what a command has changed", "Host"),
    "try apply": ("try_:APPLY", "Change the host as a command has changed its overlay", "Host"),
    "try drop": ("try_:DROP", "Forget what a command has changed", "Host"),
    "pull": ("pull:PULL", "Fetch images from a registry", "Images"),
    "push": ("push:PUSH", "Send an image to a registry", "Images"),
    "login": ("login:LOGIN", "Log in to a registry", "Images"),
    "logout": ("login:LOGOUT", "Forget the password of a registry", "Images"),
    "images": ("images:LIST", "List images", "Images"),
    "import": ("import_:IMPORT", "Make an image of a root file system in a tar", "Images"),
    "load": ("load:LOAD", "Load images from an archive or a layout", "Images"),
    "tag": ("tag:TAG", "Give an image another name", "Images"),
    "rmi": ("rmi:REMOVE", "Remove images", "Images"),
    "save": ("save:SAVE", "Write images into an archive", "Images"),
    "commit": ("commit:COMMIT", "Make an image of what a container has changed", "Images"),
    "diff": ("commit:DIFF", "List what a container has changed in its root", "Containers"),
    "export": ("save:EXPORT", "Write a container's root as a flat tar", "Containers"),
    "history": ("image_facts:HISTORY", "Show how an image came to be", "Images"),
    "image inspect": ("image_facts:INSPECT", "Show what is known of images, as JSON", "Images"),
    "image tree": ("image_facts:TREE", "Draw the layers that images share", "Images"),
    "image prune": ("image_prune:PRUNE", "Remove images that nobody uses", "Images"),
    "image bootstrap": (
        "bootstrap:SYSTEM",
        "Make an image of a distribution's packages",
        "Images",
    ),
    "image bootstrap busybox": (
        "bootstrap:BUSYBOX",
        "Make an image of this host's static busybox",
        "Images",
    ),
    "volume create": ("volume:CREATE", "Create a volume", "Volumes"),
    "volume ls": ("volume:LIST", "List volumes", "Volumes"),
    "volume inspect": ("volume:INSPECT", "Show what is known of volumes, as JSON", "Volumes"),
    "volume rm": ("volume:REMOVE", "Remove volumes", "Volumes"),
    "volume export": ("volume:EXPORT", "Write what is in a volume as a tar", "Volumes"),
    "volume import": ("volume:IMPORT", "Lay a tar down in a volume", "Volumes"),
    "volume prune": ("volume:PRUNE", "Remove volumes that no container uses", "Volumes"),
    "events": ("events:EVENTS", "Show what happens, and what has happened", "System"),
    "system df": ("disk:DF", "Show what newroot takes on the disk", "System"),
    "system prune": ("prune:SYSTEM", "Remove what nobody needs any more", "System"),
    "network create": ("network:CREATE", "Make a network", "Networks"),
    "network ls": ("network:LIST", "List networks", "Networks"),
    "network inspect": ("network:INSPECT", "Show what is known of networks, as JSON", "Networks"),
    "network rm": ("network:REMOVE", "Remove networks", "Networks"),
    "network connect": ("network:CONNECT", "Put a container on a network", "Networks"),
    "network disconnect": ("network:DISCONNECT", "Take a container from a network", "Networks"),
    "network prune": ("network:PRUNE", "Remove networks that no container is on", "Networks"),
    "ns": ("ns:NS", "Show the namespaces of this host and who is in them", "Looking"),
    "mounts": ("mounts:MOUNTS", "Show what a process or container sees mounted", "Looking"),
    "explain": ("explain:EXPLAIN", "Print a start as a script, each step with why", "Looking"),
    "view": ("view:VIEW", "Draw what the host holds, as a page or a picture", "Looking"),
    "unshare": (
        "unshare:UNSHARE",
        "Run a command as root of the namespace that your containers are in",
        "Looking",
    ),
    "doctor": ("doctor:DOCTOR", "Find and mend what is wrong, and show what works here", "About"),
    "completion": ("completion:COMPLETION", "Print what a shell completes newroot by", "About"),
    "version": ("version:VERSION", "Show the versions of newroot and what it runs on", "About"),
    "help": ("help:HELP_VERB", "Show the help of a verb", "About"),
}

#: Docker's other names for the same verbs.
ALIASES = {
    "container run": "run",
    "container create": "create",
    "container start": "start",
    "container exec": "exec",
    "container stop": "stop",
    "container restart": "restart",
    "container kill": "kill",
    "container wait": "wait",
    "container cp": "cp",
    "container logs": "logs",
    "container attach": "attach",
    "container ls": "ps",
    "container list": "ps",
    "container ps": "ps",
    "container rm": "rm",
    "container remove": "rm",
    "image ls": "images",
    "image list": "images",
    "image import": "import",
    "image load": "load",
    "image pull": "pull",
    "image push": "push",
    "image tag": "tag",
    "image save": "save",
    "image history": "history",
    "container commit": "commit",
    "container diff": "diff",
    "container export": "export",
    "container top": "top",
    "container stats": "stats",
    "container port": "port",
    "container pause": "pause",
    "container unpause": "unpause",
    "container rename": "rename",
    "container update": "update",
    "system events": "events",
    "image rm": "rmi",
    "image remove": "rmi",
    "network list": "network ls",
    "network remove": "network rm",
    "volume list": "volume ls",
    "volume remove": "volume rm",
}

#: Verbs that mount nothing, signal nobody and touch no file of a container's or a layer's: an
#: ordinary user does them as who he is, also where there are no user namespaces.
NEEDS_NO_NAMESPACE = frozenset(
    ("login", "logout", "images", "tag", "history", "image inspect", "image tree", "volume ls",
     "volume inspect", "ns", "mounts", "view", "version", "help", "logs", "inspect")
)  # fmt: skip

#: Verbs that say what there is to be said where no namespace is to be had, too.
WORKS_WITHOUT_NAMESPACE = frozenset(("doctor", "ps", "explain"))

_LONGEST = 3


def find_verb(words: tuple[str, ...]) -> tuple[str, int] | None:
    """The verb that *words* begin with, and how many of them name it."""
    for count in range(min(_LONGEST, len(words)), 0, -1):
        name = " ".join(words[:count])
        name = ALIASES.get(name, name)
        if name in VERBS:
            return name, count
    return None


def load_verb(name: str) -> Verb:
    """The table of the verb *name*."""
    module, _, table = VERBS[name][0].partition(":")
    verb: Verb = getattr(__import__(f"newroot.cli.{module}", fromlist=(table,)), table)
    return verb


def group_of(words: tuple[str, ...]) -> str | None:
    """``volume`` or ``image bootstrap`` when *words* begin like several verbs and name none."""
    names = (*VERBS, *ALIASES)
    for count in range(min(_LONGEST - 1, len(words)), 0, -1):
        prefix = " ".join(words[:count])
        if any(name.startswith(prefix + " ") for name in names):
            return prefix
    return None
