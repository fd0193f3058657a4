"""Where newroot is unlike a peer, and why: the whole list.

A difference that stands in no row is a fault, of ours or of this table; a row whose difference is
not there any more is one too.  ``example`` is the case that shows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from differential.views import Outcome


@dataclass(frozen=True)
class Difference:
    """One way in which newroot is unlike *peer*."""

    example: str
    facts: str  #: names of facts, as a pattern: "outcome" where one starts what the other refuses
    why: str
    cases: str | None = None  #: patterns, where it is not the example alone
    peer: str = "runc"

    def covers(self, cases: Iterable[str], peer: str, fact: str) -> bool:
        """Whether it explains that *fact* differs in a bundle made of *cases*."""
        patterns = (self.cases or self.example).split()
        return (
            peer == self.peer
            and any(fnmatchcase(fact, pattern) for pattern in self.facts.split())
            and any(fnmatchcase(case, pattern) for case in cases for pattern in patterns)
        )


EVERYWHERE = "*"

DELIBERATE = (
    # ── every bundle ──
    Difference(
        "base",
        "fds/0 fds/1 fds/2",
        cases=EVERYWHERE,
        why="runc run copies between its own streams and the container's; ours hands them over",
    ),
    Difference(
        "base",
        "process/parent?death?signal",
        cases=EVERYWHERE,
        why="kill -9 of newroot-oci run ends the container too: nothing of ours stays mounted",
    ),
    Difference(
        "personality-linux",
        "fds/0 fds/1 fds/2 process/parent?death?signal",
        cases=EVERYWHERE,
        peer="crun",
        why="as with runc: ours ends with newroot-oci run",
    ),
    Difference(
        "personality-linux",
        "keyring",
        cases=EVERYWHERE,
        peer="crun",
        why="ours names the session's keyring as runc does, _ses.ID",
    ),
    Difference(
        "personality-linux",
        "mount/sys",
        cases=EVERYWHERE,
        peer="crun",
        why="crun makes sysfs read-only as a mount alone; ours, as runc's, as a file system too",
    ),
    Difference(
        "personality-linux",
        "dev//dev/core",
        cases=EVERYWHERE,
        peer="crun",
        why="as with runc, no link to a /proc/kcore that the kernel has not",
    ),
    # ── process ──
    Difference(
        "user-with-a-high-id",
        "outcome",
        why="the specification has 32 bits for an id; runc 1.1 stops at 31",
    ),
    # ── root and mounts ──
    Difference(
        "rootfs-propagation-unbindable",
        "outcome",
        cases="rootfs-propagation-*unbindable",
        why="one of the specification's words; runc 1.1 cannot bind the root after it",
    ),
    Difference(
        "cgroup-in-the-host-s",
        "mount/sys/fs/cgroup",
        cases="cgroup-* resources-* device-rules-*",
        why="the tmpfs of the hierarchies is as read-only as the config says; runc 1.1's is not",
    ),
    Difference(
        "tmpfs-defaults",
        "outcome",
        why="a word of mount(8), which means nothing; runc 1.1 hands it to the kernel",
    ),
    Difference(
        "tmpfs-without-source",
        "mount/mnt",
        why="where the config names no source, the type stands in the mount table",
    ),
    Difference(
        "no-proc",
        "outcome",
        cases="no-proc no-mounts",
        why="runc 1.1 looks into the container's /proc; ours needs none",
    ),
    Difference(
        "bind-without-its-option",
        "outcome",
        why="as with crun, the type bind is enough; runc 1.1 asks the kernel for a file system",
    ),
    Difference(
        "rootfs-propagation-shared",
        "mount/*",
        cases="rootfs-propagation-shared rootfs-propagation-rshared",
        why="config-linux.md: a shared root is in a new peer group; runc 1.1 leaves it private",
    ),
    Difference(
        "tmpfs-over-full",
        "mount/*",
        cases="tmpfs-over-full target-* tmpfs-copies-up* tmpfs-*tmpcopyup*",
        why="a tmpfs is mounted with the mode of what it hides; runc 1.1 changes it afterwards",
    ),
    Difference(
        "overlay",
        "mount/mnt",
        why="a lowerdir+ for each layer, which may have any name; runc 1.1 writes one line",
    ),
    Difference(
        "user-namespace",
        "mount/dev/*",
        cases="user-namespace* device-in-a-user*",
        why="the host's nodes are shown read-only, so that nobody changes their modes: 0012",
    ),
    Difference(
        "tmpfs-tmpcopyup,mode=0700",
        "probes/stat?/full root/full",
        why="a mode that is asked for is the mode; runc 1.1 gives it that of what it hides",
    ),
    Difference(
        "cgroups-path-absent",
        "cgroup",
        why="config-linux.md leaves the default to the runtime: ours lie below /newroot",
    ),
    Difference(
        "intel-rdt-without-resctrl",
        "outcome",
        why="an error, says config-linux.md; runc 1.1 goes on",
    ),
    Difference(
        "missing-ociVersion",
        "outcome",
        cases="missing-ociVersion version-of-* version-that-*",
        why="REQUIRED, says config.md; runc 1.1 does not look",
    ),
    Difference(
        "intel-rdt-without-resctrl",
        "outcome",
        why="MUST be an error, says config-linux.md; runc 1.1 goes on without",
    ),
    Difference(
        "device-rules-of-an-unknown-access",
        "outcome",
        why="what config-linux.md does not name is refused, with its place; runc 1.1 goes on",
    ),
    Difference(
        "device-that-is-there-anyway",
        "outcome",
        why="runc 1.1 then forbids the device in the cgroup and cannot open it itself",
    ),
    Difference(
        "masked-file",
        "mount/*",
        cases="masked-*",
        why="the host's own /dev/null, read-only, and not the container's: CVE-2025-31133",
    ),
    Difference(
        "masked-directory",
        "mount/*",
        cases="masked-* readonly-and-masked",
        why="the empty directory has room for no inode of anybody's",
    ),
    Difference(
        "seccomp-errno-with-allow",
        "outcome",
        cases="seccomp-errno-with-allow seccomp-without-names",
        why="config-linux.md asks for an error; runc 1.1 goes on",
    ),
    Difference(
        "device-where-a-file-stands",
        "outcome",
        cases="device-where-a*",
        why="config-linux.md asks for an error; runc leaves the file as it is",
    ),
    Difference(
        "device-without-major",
        "outcome",
        cases="device-without-m*",
        why="config-linux.md says that it is required; runc takes 0",
    ),
    Difference(
        "seccomp-flag-log",
        "outcome",
        cases="seccomp-flag-*",
        why="the specification's flags; runc 1.1 knows none",
    ),
)


def differing(ours: Outcome, theirs: Outcome) -> Iterator[str]:
    """The facts that are not the same.  Who refuses a bundle has no others."""
    if ours.failed != theirs.failed:
        yield "outcome"
        return
    for fact in sorted(ours.facts.keys() | theirs.facts.keys()):
        if ours.facts.get(fact) != theirs.facts.get(fact):
            # What a failed start leaves in the bundle's root is nobody's promise.
            if not (ours.failed and fact.startswith("left/")):
                yield fact


def unexplained(cases: Iterable[str], peer: str, ours: Outcome, theirs: Outcome) -> list[str]:
    """What differs in a bundle made of *cases* and stands in no row, ready to be read."""
    names = tuple(cases)
    return [
        f"{fact}\n    newroot-oci: {ours.facts.get(fact)!r}\n    {peer}: {theirs.facts.get(fact)!r}"
        for fact in differing(ours, theirs)
        if not any(row.covers(names, peer, fact) for row in DELIBERATE)
    ]
