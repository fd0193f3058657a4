"""What a user asks of one container, in Docker's terms: typed, immutable, checked.

The command line and the Python library both end here (``words.py`` reads their words), and
everything behind this page (the OCI config, the plan) starts from here.  A ``Settings`` says what
is wanted and nothing about how: names of users, volumes and profiles are not yet looked up.
``check()`` holds the rules that need more than one field; one field's rules are in its parser.
"""

from __future__ import annotations

from newroot.errors import UsageError
from newroot.network.asked import Networking
from newroot.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    MountType = Literal["bind", "volume", "tmpfs", "overlay"]
    Namespace = Literal["private", "host"]
    Restart = Literal["no", "on-failure", "always", "unless-stopped"]


@record
class Mount:
    """One mount that the user asked for.

    ``bind``: *source* is an absolute path on the host.  ``volume``: *source* is a volume's name,
    None for an anonymous one.  ``tmpfs``: no source.  ``overlay``: *source* is the topmost lower
    directory; further lowers, and an upper and work directory of the user's own, stand in
    *options* as ``lowerdir=``, ``upperdir=``, ``workdir=``, one path each; without an upper the
    changes are thrown away with the container.
    """

    type: MountType
    source: str | None = None
    target: str  #: absolute and normalised
    readonly: bool = False
    recursive_readonly: bool = False  #: also the mounts below *source*; only with *readonly*
    recursive: bool = True  #: take the mounts below *source* along
    propagation: str | None = None  #: private, rslave, …; None: rprivate, as Docker
    options: tuple[str, ...] = ()  #: for the kernel: nosuid, size=64m, …
    create_source: bool = False  #: make a missing bind source, as Docker's -v does
    copy_up: bool = True  #: fill an empty volume from what the image has at *target*
    subpath: str | None = None  #: mount this directory of the volume instead of the whole
    volume_labels: tuple[tuple[str, str], ...] = ()  #: of a volume that is made for this
    volume_options: tuple[tuple[str, str], ...] = ()  #: the same: rootfs/volume_options.py


@record
class Device:
    """A device node of the host, inside the container."""

    host_path: str
    container_path: str
    permissions: str = "rwm"  #: for the devices cgroup


@record
class Settings:
    """What a user asks of one container."""

    command: tuple[str, ...] = ()  #: empty: the image's
    entrypoint: tuple[str, ...] | None = None  #: None: the image's; empty: none
    env: tuple[tuple[str, str], ...] = ()  #: on top of the image's, each name once
    env_unset: tuple[str, ...] = ()  #: names to take out of the image's
    cwd: str | None = None  #: absolute, in the container; None: the image's
    user: str | None = None  #: ``USER[:GROUP]``, to be looked up in the container's root
    name: str | None = None  #: of the container, each once below a root
    hostname: str | None = None  #: None: the first twelve digits of the id
    terminal: bool = False  #: a terminal of its own, as its standard streams
    interactive: bool = False  #: standard input stays open
    init: bool = False  #: our reaper is process 1, and the command its child
    stop_signal: str | None = None  #: ``SIGTERM``, ``SIGRTMIN+3``; None: the image's
    remove: bool = False  #: container and anonymous volumes go when it has ended
    annotations: tuple[tuple[str, str], ...] = ()  #: for the OCI config
    labels: tuple[tuple[str, str], ...] = ()  #: for the record

    restart: Restart = "no"  #: whether one that nobody waits for begins anew when it has ended
    restart_most: int = 0  #: how often, for ``on-failure``; 0: no end
    stop_timeout: int = 10  #: seconds from the signal that asks it to end to SIGKILL; -1: none
    log_driver: Literal["json-file", "plain", "none"] = "json-file"
    log_bytes: int = 100 << 20  #: in one file of the log; 0: no limit
    log_files: int = 3  #: as many are kept

    health_test: tuple[str, ...] | None = None  #: CMD or CMD-SHELL and words, NONE; None: image's
    health_interval_ns: int = 0  #: 0, here and below: the image's, or the default
    health_timeout_ns: int = 0
    health_start_period_ns: int = 0
    health_retries: int = 0

    switch: Literal["pivot", "move", "chroot"] = "pivot"  #: how the root is entered
    readonly_root: bool = False  #: the mounts on it are as they say
    upper: Literal["disk", "memory"] = "disk"  #: where what is written goes; memory forgets it
    mounts: tuple[Mount, ...] = ()
    volumes_from: tuple[tuple[str, str], ...] = ()  #: (container, ``ro``, ``rw`` or nothing)
    devices: tuple[Device, ...] = ()

    network: str = "none"
    """``none``: only its own loopback; ``host``; ``bridge``: those of *networking*, or the default
    one; ``container:NAME``: that one's; ``pasta``."""
    networking: Networking = Networking()  # a record
    pid: Namespace = "private"
    ipc: Namespace = "private"
    uts: Namespace = "private"
    cgroupns: Namespace = "private"
    userns: str = "host"  #: or private, keep-id[:uid=,gid=], nomap, container:NAME
    fake_chown: bool | None = None  #: see isolation/fake_ids.py; None: where there is one id
    sysctls: tuple[tuple[str, str], ...] = ()  #: (``net.ipv4.ip_forward``, ``1``)

    privileged: bool = False  #: all capabilities and devices, no filter, nothing masked
    cap_add: tuple[str, ...] = ()  #: ``CAP_NET_ADMIN`` or ``ALL``
    cap_drop: tuple[str, ...] = ()  #: taken from the default ones and those of *cap_add*
    seccomp: str | None = None  #: None: the default profile; ``unconfined``; else a file's path
    no_new_privileges: bool = False  #: set-user-ID programs give nothing: prctl(2)
    masked: tuple[str, ...] = ()  #: masked beside the default ones
    unmasked: tuple[str, ...] = ()  #: not masked nor made read-only; ``ALL``

    ulimits: tuple[tuple[str, int, int], ...] = ()  #: (``nofile``, soft, hard); -1: unlimited
    memory_bytes: int | None = None  #: what is written into an upper in memory counts
    cpus: float | None = None  #: as many CPUs' time; 0.5 is half of one's
    pids_limit: int | None = None  #: processes and threads; None: unlimited
    limits: Literal["required", "best-effort"] = "required"  #: best-effort: or a word of why not
    cpuset_cpus: str | None = None  #: ``0-3,6``


def check(settings: Settings) -> Settings:
    """Return *settings* when its fields go together.

    Raises UsageError.  Looks at nothing outside *settings*.
    """
    _check_targets(settings.mounts)
    if settings.remove and settings.restart != "no":
        raise UsageError(
            "conflicting settings: --rm and a restart policy",
            hint="a container that goes when it has ended cannot begin anew",
        )
    for field, value, what in (
        ("uts", settings.hostname, "a hostname of its own"),
        ("uts", _sysctls_of(settings, "kernel."), "the sysctl kernel.domainname"),
        ("network", _sysctls_of(settings, "net."), "a net.* sysctl"),
        ("ipc", _sysctls_of(settings, "ipc"), "a sysctl of an IPC namespace"),
    ):
        if value and getattr(settings, field) == "host":
            raise UsageError(
                f"conflicting settings: {what} and {field}=host",
                hint="it would change the host's; leave one of the two out",
            )
    _check_network(settings)
    if settings.userns != "host":
        _check_user_namespace(settings)
    return settings


def _check_user_namespace(settings: Settings) -> None:
    """Docker's rules for its userns-remap: who owns none of a namespace cannot mount what shows
    it, as /proc shows the pid namespace."""
    for field in ("network", "pid", "ipc", "cgroupns"):
        if getattr(settings, field) == "host":
            raise UsageError(
                f"conflicting settings: userns={settings.userns} and {field}=host",
                hint=f"root in a user namespace has no rights in the host's {field} namespace",
            )
    if settings.privileged:
        raise UsageError(
            f"conflicting settings: userns={settings.userns} and privileged",
            hint="root in a user namespace has no privileges on the host to be given",
        )


def check_source(image: str | None, rootfs: str | None) -> None:
    """Raise UsageError unless exactly one of *image* and *rootfs* is given."""
    if image is None and rootfs is None:
        raise UsageError("no image and no root directory given", hint="give IMAGE or --rootfs DIR")
    if image is not None and rootfs is not None:
        raise UsageError(f"conflicting settings: the image {image} and the root directory {rootfs}")


def _check_network(settings: Settings) -> None:
    asked = settings.networking
    if settings.network in ("none", "host") or settings.network.startswith("container:"):
        for said, what in (
            (asked.ports or asked.publish_all, "published ports"),
            (asked.attachments, "an address or a name on a network"),
        ):
            if said and settings.network != "host":  # there every port is the host's anyway
                raise UsageError(
                    f"conflicting settings: {what} and network={settings.network}",
                    hint="say which network: --network bridge, or the name of one",
                )


def _check_targets(mounts: tuple[Mount, ...]) -> None:
    seen = set()
    for mount in mounts:
        if mount.target in seen:
            raise UsageError(f"duplicate mount point: {mount.target}")
        seen.add(mount.target)


def _sysctls_of(settings: Settings, namespace: str) -> bool:
    return any(_namespace_of(name) == namespace for name, _ in settings.sysctls)


def _namespace_of(name: str) -> str:
    """Which namespace a sysctl that ``sysctls.parse`` let pass belongs to."""
    if name.startswith("net."):
        return "net."
    return "kernel." if name in ("kernel.domainname", "kernel.hostname") else "ipc"
