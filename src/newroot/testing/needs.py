"""``needs("root", "overlay")``: what a test wants of the host, found out by doing it.

A version number says what a kernel could do; only trying says what this one lets us do, here, now.
A need that is not met skips the test and says what was tried and seen, unless the environment
variable ``NEWROOT_MUST_WORK`` names it (``a,b``, or ``all``): then the test fails.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pytest

MUST_WORK = "NEWROOT_MUST_WORK"

#: A need's name, where the program is called otherwise.
_PROGRAMS = {
    "criu-program": "criu",  # "criu" is one that works
    "docker": "dockerd",
    "util-linux": "unshare",
    "xz-utils": "xz",
    "bubblewrap": "bwrap",
}


class Missing(Exception):
    """What a need met instead.  Raised by a probe, never by newroot itself."""


def needs(*features: str) -> pytest.MarkDecorator:
    """Mark a test, a class or (as ``pytestmark``) a file as in need of *features*.

    Probed just before the test runs, once a session, by ``newroot.testing.plugin``.
    """
    import pytest

    return pytest.mark.needs(*features)


def require(*features: str) -> None:
    """Skip the running test, or fail it, when one of *features* is missing."""
    import pytest

    for feature in features:
        reason = missing(feature)
        if reason is None:
            continue
        if must_work(feature):
            pytest.fail(f"needs {feature}, and {MUST_WORK} names it: {reason}", pytrace=False)
        pytest.skip(f"needs {feature}: {reason}")


def must_work(feature: str) -> bool:
    """May *feature* not be missing here?"""
    named = os.environ.get(MUST_WORK, "").replace(",", " ").split()
    return "all" in named or feature in named


@cache
def missing(feature: str) -> str | None:
    """Why *feature* is not to be had, or None when it is.

    A feature is ``root``, ``gcc``, ``asan``, ``busybox``, ``vm``, one of
    ``newroot.linux.features.NAMES``, or the name of a program.
    """
    try:
        _PROBES.get(feature, lambda: _probe_other(feature))()
    except Missing as reason:
        return str(reason)
    return None


def _probe_root() -> None:
    if os.geteuid() != 0:
        raise Missing(f"the effective uid is {os.geteuid()}")


def _probe_gcc() -> None:
    _compile("gcc")


def _probe_asan() -> None:
    _compile("gcc", "-fsanitize=address,undefined")


def _compile(compiler: str, *arguments: str) -> None:
    program = _find(compiler)
    with tempfile.TemporaryDirectory() as directory:
        output = os.path.join(directory, "a.out")
        done = subprocess.run(
            [program, *arguments, "-x", "c", "-", "-o", output],
            input="#include <linux/openat2.h>\nint main (void) { return 0; }\n",
            capture_output=True,
            text=True,
        )
        if done.returncode == 0:
            done = subprocess.run([output], capture_output=True, text=True)
        if done.returncode != 0:
            raise Missing(f"{compiler} {' '.join(arguments)}: {done.stderr.strip()[-300:]}")


def _probe_busybox() -> None:
    from newroot.testing.roots import find_busybox

    find_busybox()


def _probe_uidmap() -> None:
    for program in ("newuidmap", "newgidmap"):
        _find(program)  # they know no option that ends well


def _probe_vm() -> None:
    if not os.environ.get("NEWROOT_VM"):
        raise Missing("not in the virtual machine of `make test-vm`")


def _probe_criu() -> None:
    """Whether it can do here what it is for; ``--version`` it can say anywhere."""
    done = subprocess.run([_find("criu"), "check"], capture_output=True, text=True)
    if done.returncode != 0:
        raise Missing(f"criu check: {done.stderr.strip().rpartition(chr(10))[2]}")


_PROBES: dict[str, Callable[[], None]] = {
    "asan": _probe_asan,
    "busybox": _probe_busybox,
    "criu": _probe_criu,
    "gcc": _probe_gcc,
    "root": _probe_root,
    "uidmap": _probe_uidmap,
    "vm": _probe_vm,
}


def _probe_other(feature: str) -> None:
    # Imported here, for most tests ask for nothing of the kernel.
    from newroot.linux import features

    if feature in features.NAMES:
        seen = features.probe(feature)
        if not seen.works:
            raise Missing(seen.tried)
        return
    program = _find(_PROGRAMS.get(feature, feature))
    for argument in ("--version", "-V", "version"):
        done = subprocess.run([program, argument], stdin=subprocess.DEVNULL, capture_output=True)
        if done.returncode == 0:
            return
    raise Missing(f"{program} --version: exit code {done.returncode}")


def _find(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise Missing(f"no {program} on PATH")
    return found
