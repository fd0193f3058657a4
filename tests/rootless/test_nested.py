"""newroot in a container of its own, as in anybody's: what works there, and what does not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Do = Callable[..., "subprocess.CompletedProcess[str]"]

ROOT = Path(__file__).parents[2]
#: What the command itself needs, at the same places inside.
PLACES = ("/usr", "/lib", "/lib64", str(ROOT), sys.prefix)


@pytest.fixture
def inside(do: Do) -> Do:
    """Run a line of shell in a container, where ``newroot`` is there too, with these flags."""
    interpreter = os.path.dirname(os.path.dirname(os.path.realpath(sys.executable)))
    places = dict.fromkeys((*PLACES, interpreter))
    binds = " ".join(f"-v {place}:{place}" for place in places)

    def inside(flags: str, script: str) -> subprocess.CompletedProcess[str]:
        command = os.path.join(sys.prefix, "bin", "newroot")
        shell = f'newroot() {{ {command} --root /inner "$@"; }}; {script}'
        return do(
            f"newroot run --rm {flags} {binds} -v inner:/inner busybox sh -c '{shell}'; code=$?; "
            "newroot volume rm inner >/dev/null; exit $code"
        )

    return inside


SHOW = 'newroot run --rm --network none busybox sh -c "id -u; ls /proc | grep -c ^[0-9]"'


def test_under_a_masked_proc_it_has_the_outer_one_and_says_so(inside: Do) -> None:
    done = inside(
        "--security-opt seccomp=unconfined", f"newroot image bootstrap busybox >/dev/null; {SHOW}"
    )

    assert done.returncode == 0, done.stderr
    uid, processes = done.stdout.split()
    assert uid == "0"
    assert int(processes) > 3, "the processes of the container around it are visible"
    assert done.stderr == (
        "newroot: warning: an outer container masks parts of /proc, so the container sees that "
        "one, and the processes in it\n"
    )


def test_under_an_unmasked_proc_it_has_its_own(inside: Do) -> None:
    done = inside(
        "--security-opt seccomp=unconfined --security-opt unmask=ALL",
        f"newroot image bootstrap busybox >/dev/null; {SHOW}",
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split()[0] == "0"
    assert int(done.stdout.split()[1]) <= 3


def test_a_privileged_one_is_as_good_as_none_around_it(inside: Do) -> None:
    done = inside("--privileged", f"newroot image bootstrap busybox >/dev/null; {SHOW}")

    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout.split()[1]) <= 3


def test_where_a_filter_refuses_namespaces_it_says_so_and_what_helps(inside: Do) -> None:
    done = inside("", SHOW)

    assert done.returncode == 125
    assert "no user namespace is to be had" in done.stderr
    assert "a seccomp filter refuses them" in done.stderr
    assert "hint: run the outer container with --security-opt seccomp=unconfined" in done.stderr
    looked = inside("", "newroot images; newroot doctor --quick --offline | grep -A1 ^isolation")
    assert "no user namespace to be had: a seccomp filter" in looked.stdout


def test_where_they_are_counted_to_zero_it_says_so(do: Do) -> None:
    script = """
        unshare -Ur sh -c '
          echo 0 >/proc/sys/user/max_user_namespaces
          exec setpriv --bounding-set -sys_admin "$@"' sh "$newroot" run --rm busybox true
    """
    command = os.path.join(sys.prefix, "bin", "newroot")
    done = do(f"newroot={command}; {script}")

    assert done.returncode == 125
    assert "user.max_user_namespaces is 0" in done.stderr
    assert "sysctl -w user.max_user_namespaces=" in done.stderr
