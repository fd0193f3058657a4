"""What an ordinary user cannot set is refused with a reason, or left out with a word."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from newroot.isolation.cgroups.detect import detect

Do = Callable[..., "subprocess.CompletedProcess[str]"]

#: A user without a session of systemd's, whatever the host.
ALONE = "unset DBUS_SESSION_BUS_ADDRESS;"


def test_a_limit_that_cannot_be_kept_is_refused(do: Do) -> None:
    assert detect().mode != "none"
    # By its name: what another test has left detached in this home may not be gone yet.
    done = do(
        f"{ALONE} newroot run --rm --name limited --memory 64m busybox echo started;"
        "newroot ps -aq --filter name=limited"
    )

    assert done.stdout == "", "IT RAN WITHOUT ITS LIMIT"
    assert "this user cannot set limits here" in done.stderr
    assert "--limits best-effort" in done.stderr


def test_or_it_is_left_out_with_a_word(do: Do) -> None:
    done = do(
        f"{ALONE} newroot run --rm --limits best-effort --memory 64m busybox echo started;"
        f"{ALONE} newroot run -d --rm --limits best-effort --memory 64m busybox true >/dev/null"
    )

    assert (done.returncode, done.stdout) == (0, "started\n")
    assert done.stderr.count("newroot: warning: the limits are not kept: ") == 2
