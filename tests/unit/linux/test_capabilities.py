"""Capabilities: the header's numbers, and Docker's way with --cap-add and --cap-drop."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from newroot.errors import UsageError
from newroot.linux import capabilities as caps

HEADER = Path("/usr/include/linux/capability.h")


@pytest.mark.skipif(not HEADER.exists(), reason="needs linux/capability.h")
def test_names_have_the_kernels_numbers():
    text = HEADER.read_text()
    expected = {n: int(v) for n, v in re.findall(r"#define (CAP_\w+)\s+(\d+)$", text, re.M)}
    expected = {n: v for n, v in expected.items() if n != "CAP_LAST_CAP"}

    assert expected == {name: caps.NUMBERS[name] for name in expected}
    assert len(caps.NAMES) == 41


def test_docker_gives_fourteen():
    assert len(set(caps.DOCKER_DEFAULT)) == 14
    assert caps.mask(caps.DOCKER_DEFAULT) == 0xA80425FB  # what docker's containers show in CapBnd


@pytest.mark.parametrize(
    "text", ["CAP_SYS_ADMIN", "sys_admin", "SYS_ADMIN", "Cap_Sys_Admin", " sys_admin "]
)
def test_every_spelling_is_one_capability(text):
    assert caps.parse(text) == "CAP_SYS_ADMIN"


@pytest.mark.parametrize("text", ["ALL", "all", "CAP_ALL"])
def test_all_stays_all(text):
    assert caps.parse(text) == "ALL"


def test_unknown_name_is_refused_with_its_neighbours():
    with pytest.raises(UsageError, match="'sys_admn' is not a capability") as caught:
        caps.parse("sys_admn")

    assert "CAP_SYS_ADMIN" in (caught.value.hint or "")


def test_nothing_said_is_dockers_default():
    assert set(caps.apply()) == set(caps.DOCKER_DEFAULT)


def test_dropped_is_gone_and_added_is_there():
    given = caps.apply(add=["net_admin"], drop=["CHOWN"])

    assert set(given) == {*caps.DOCKER_DEFAULT, "CAP_NET_ADMIN"} - {"CAP_CHOWN"}


def test_added_wins_over_dropped_as_in_docker():
    assert "CAP_CHOWN" in caps.apply(add=["CHOWN"], drop=["CHOWN"])


def test_drop_all_leaves_only_the_added():
    assert caps.apply(add=["KILL", "CHOWN"], drop=["all"]) == ("CAP_CHOWN", "CAP_KILL")


def test_add_all_takes_all_but_the_dropped():
    given = caps.apply(add=["ALL"], drop=["SYS_ADMIN"], last=40)

    assert set(given) == set(caps.NAMES) - {"CAP_SYS_ADMIN"}


def test_add_all_beats_drop_all_as_in_docker():
    assert caps.apply(add=["ALL"], drop=["ALL"], last=40) == caps.NAMES


def test_privileged_is_everything_whatever_is_dropped():
    assert caps.apply(drop=["ALL"], privileged=True, last=39) == caps.NAMES[:40]


def test_capability_that_the_kernel_is_too_old_for_is_refused():
    with pytest.raises(UsageError, match="no CAP_BPF"):
        caps.apply(add=["bpf"], last=37)


def test_mask_and_names_are_inverse():
    assert caps.names(caps.mask(caps.NAMES)) == caps.NAMES
    assert caps.names(1 << 60) == ()


def test_last_cap_is_this_kernels():
    assert caps.last_cap() == int(Path("/proc/sys/kernel/cap_last_cap").read_text())
