"""Rows about looking: newroot ns and mounts beside lsns and findmnt, where there are many."""

from __future__ import annotations

import sys

import newroot_rows
from measure import row
from peers import PROCESS
from rig import HERE, Resident, Rig

PROCESSES, MOUNTS = 2000, 5000
_ALONE = "unshare --mount --pid --fork --kill-child --mount-proc".split()


def among(rig: Rig, processes: int, mounts: int, *command: str) -> Resident:
    """Time *command* on a host of its own with so many *processes* and *mounts*."""
    rig.need("unshare")
    crowd = [*_ALONE, sys.executable, str(HERE / "many.py"), str(processes), str(mounts)]
    return rig.start([*crowd, *rig.stopwatch(*command)])


@row("look", "lsns", PROCESS, f"lsns --json, {PROCESSES} processes", "lsns")
def lsns(rig: Rig) -> Resident:
    return among(rig, PROCESSES, 0, rig.need("lsns"), "--json")


@row("look", "newroot ns", PROCESS, "the same, with descriptors, binds, containers", "lsns")
def newroot_ns(rig: Rig) -> Resident:
    return among(rig, PROCESSES, 0, newroot_rows.program("newroot"), "ns", "--format", "json")


@row("look", "findmnt", PROCESS, f"findmnt --json, {MOUNTS} binds", "findmnt")
def findmnt(rig: Rig) -> Resident:
    return among(rig, 0, MOUNTS, rig.need("findmnt"), "--json")


@row("look", "newroot mounts", PROCESS, "the same, each bind traced and proven", "findmnt")
def newroot_mounts(rig: Rig) -> Resident:
    return among(rig, 0, MOUNTS, newroot_rows.program("newroot"), "mounts", "--format", "json")
