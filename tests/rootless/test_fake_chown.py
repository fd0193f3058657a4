"""``--fake-chown``: what wants other ids is told that it has them, and nothing else changes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

Do = Callable[..., "subprocess.CompletedProcess[str]"]
Says = Callable[[str], str]

TRY = "touch f; chown 5:6 f && mknod n c 1 3 && echo done; stat -c %u:%g f; test -e n && echo node"


@pytest.fixture(scope="session", params=[""], ids=["single"])
def subids(request: pytest.FixtureRequest) -> str:
    """Nothing in /etc/subuid."""
    return str(request.param)


def test_with_one_id_it_is_on(says: Says) -> None:
    assert says(f"newroot run --rm busybox sh -c '{TRY}; true'").split() == ["done", "0:0"]


def test_it_can_be_turned_off(do: Do) -> None:
    done = do(f"newroot run --rm --fake-chown false busybox sh -c '{TRY}; true'")

    assert done.stdout.split() == ["0:0"]
    assert "Invalid argument" in done.stderr


def test_a_fifo_is_still_made(says: Says) -> None:
    assert says("newroot run --rm busybox sh -c 'mkfifo p && test -p p && echo fifo'") == "fifo\n"


def test_what_the_profile_refuses_stays_refused(do: Do) -> None:
    done = do("newroot run --rm busybox sh -c 'mount -t tmpfs x /tmp; unshare -U true; true'")

    assert "Operation not permitted" in done.stderr


def test_exec_has_it_as_well(says: Says) -> None:
    script = f"""
        newroot run -d --name box busybox sleep 100 >/dev/null
        newroot exec box sh -c '{TRY}; true'
        newroot rm -f box
    """

    assert says(script).split() == ["done", "0:0", "box"]


def test_packages_with_owners_of_their_own_install(says: Says) -> None:
    """As dpkg and tar do it: owners first, then modes."""
    script = """
        mkdir -p pkg; cd pkg; touch a; tar --owner 33 --group 34 -cf ../pkg.tar a; cd ..
        newroot run --rm -v $HOME/pkg.tar:/pkg.tar busybox sh -c '
          tar -xpf /pkg.tar && stat -c %u:%g a'
        rm -r pkg pkg.tar
    """

    assert says(script) == "0:0\n"
