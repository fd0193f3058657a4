"""What newroot runs on: asked of the host by doing, never by a version number."""

from __future__ import annotations

import os

from newroot.doctor.check import Finding
from newroot.errors import SyscallError
from newroot.isolation.cgroups.detect import detect
from newroot.linux.features import probe_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from newroot.doctor.check import Patient, State

_LOW = 256 << 20


def check_features(patient: Patient) -> Iterator[Finding]:
    """What of the kernel's features works here."""
    for name, probe in sorted(probe_all().items()):
        yield Finding(
            state="note", words=f"{name}: {'yes' if probe.works else 'no'}: {probe.tried}"
        )


def check_isolation(patient: Patient) -> Iterator[Finding]:
    """Which rung of the ladder this user is on, and what would lead higher."""
    from newroot.isolation.rungs import find_rung

    rung = find_rung()
    words = f"{rung.words}: {rung.why}" if rung.why else rung.words
    state: State = "lost" if rung.name == "none" else "note"
    yield Finding(state=state, words=words, hint=rung.remedy or None)


def check_cgroups(patient: Patient) -> Iterator[Finding]:
    """Which hierarchies there are."""
    try:
        host = detect()
    except SyscallError as error:
        yield Finding(state="note", words=f"none: {error}")
        return
    yield Finding(state="note", words=f"{host.mode}")


def check_disk(patient: Patient) -> Iterator[Finding]:
    """How much room the store has."""
    path = patient.engine.root
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    status = os.statvfs(path)
    free = status.f_bavail * status.f_frsize
    words = f"{free // 1_000_000} MB free below {patient.engine.root}"
    if free < _LOW or (status.f_files and not status.f_favail):
        yield Finding(state="lost", words=words, hint="newroot image prune -a makes room")
    else:
        yield Finding(state="note", words=words)
