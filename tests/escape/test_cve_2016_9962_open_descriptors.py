"""CVE-2016-9962: a descriptor of the host's, left open, leads out of the container."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from subprocess import DEVNULL, PIPE

import pytest

from newroot.engine import Engine
from newroot.testing import needs

pytestmark = needs("root")

Without = Callable[..., None]

_LIST = "for p in self 1; do for f in /proc/$p/fd/*; do readlink $f; done; done"


def _descriptors(engine: Engine, image: Path, **words: object) -> set[str]:
    """What the command, and the first process, have open beside what every program has."""
    script = f"{_LIST} 2>/dev/null; true"
    result = engine.run(
        rootfs=f"{image}:O",
        command=["/bin/sh", "-c", script],
        stdout=PIPE,
        stderr=DEVNULL,
        text=True,
        **words,
    )
    assert result.fault is None, result.error
    return {line for line in str(result.stdout).split("\n") if line} - {"/dev/null"}


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"init": True},
        {"cap_add": ["SYS_PTRACE"], "init": True},
        {"volumes": {"data": "/data"}, "tmpfs": ["/t"], "memory": "64m", "device": "/dev/zero"},
        {"security_opt": ["no-new-privileges", "mask=/etc/group"], "user": "65534"},
        {"privileged": True, "init": True},
        {"pid": "host"},
    ],
    ids=lambda words: "-".join(words) or "plain",
)
def test_a_command_has_what_it_was_given_and_no_more(
    engine: Engine, image: Path, words: dict[str, object], tmp_path: Path
) -> None:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(fd, True)  # as a careless caller has
    try:
        for _ in range(2):  # the second is born from the process that was ready
            found = _descriptors(engine, image, **words)
            ours = {name for name in found if not name.startswith("pipe:")}
            if words.get("pid") == "host":
                ours = {name for name in ours if "newroot" in name or str(tmp_path) in name}

            assert ours <= {"/dev/console"}, "THE HOST IS OPEN TO THE CONTAINER"
    finally:
        os.close(fd)


def test_without_the_guards_the_new_roots_descriptor_is_left(
    engine: Engine, image: Path, without: Without
) -> None:
    without(
        "steps.c",
        "return attempt (run, __NR_close_range, 3 + run->passed, ~0U, CLOSE_RANGE_CLOEXEC)",
        "for (int fd = 3; fd < 64; fd++) sys (__NR_fcntl, fd, 2, 0); return 0",
    )

    found = _descriptors(engine, image)

    assert {name for name in found if not name.startswith("pipe:")} != set()
