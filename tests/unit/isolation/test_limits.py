"""Resource limits of a config and of Docker's --ulimit."""

from __future__ import annotations

import resource

import pytest

from newroot.errors import SpecError, UsageError
from newroot.isolation import limits


def test_numbers_are_those_of_the_resource_module():
    for name, number in limits.RESOURCES.items():
        assert number == getattr(resource, name, number)
    assert len(limits.RESOURCES) == 16


def test_limits_of_a_config_are_numbers():
    config = [
        {"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 4096},
        {"type": "RLIMIT_CORE", "soft": -1, "hard": 2**64 - 1},
    ]

    assert limits.from_oci(config) == (
        (7, 1024, 4096),
        (4, limits.UNLIMITED, limits.UNLIMITED),
    )
    assert limits.from_oci(None) == ()


@pytest.mark.parametrize(
    ("config", "pointer"),
    [
        ({}, "/process/rlimits"),
        ([1], "/process/rlimits/0"),
        ([{"type": "RLIMIT_NOPE", "soft": 1, "hard": 1}], "/process/rlimits/0/type"),
        ([{"type": ["x"], "soft": 1, "hard": 1}], "/process/rlimits/0/type"),
        ([{"type": "RLIMIT_CPU", "hard": 1}], "/process/rlimits/0/soft"),
        ([{"type": "RLIMIT_CPU", "soft": 1, "hard": True}], "/process/rlimits/0/hard"),
        ([{"type": "RLIMIT_CPU", "soft": 1, "hard": 2**64}], "/process/rlimits/0/hard"),
        ([{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}], "/process/rlimits/0/soft"),
        ([{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2, "/process/rlimits/1/type"),
    ],
)
def test_wrong_limit_of_a_config_names_its_place(config, pointer):
    with pytest.raises(SpecError) as caught:
        limits.from_oci(config)

    assert caught.value.pointer == pointer


@pytest.mark.parametrize(
    ("text", "soft", "hard"),
    [
        ("nofile=1024", 1024, 1024),
        ("nofile=1024:4096", 1024, 4096),
        ("nofile=-1", limits.UNLIMITED, limits.UNLIMITED),
        ("NOFILE=5:unlimited", 5, limits.UNLIMITED),
    ],
)
def test_ulimit_is_read_as_docker_reads_it(text, soft, hard):
    assert limits.parse_ulimit(text) == {"type": "RLIMIT_NOFILE", "soft": soft, "hard": hard}


@pytest.mark.parametrize(
    "text",
    ["", "nofile", "nofile=", "nofile=x", "nofile=1:", "nofile=2:1", "nofile=-2", "nofile=1:2:3"]
    + ["nofile=unlimited:5", "nofile=" + "9" * 30, "nofile=18446744073709551616", "nofile=²"],
)
def test_ulimit_that_is_none_is_refused(text):
    with pytest.raises(UsageError):
        limits.parse_ulimit(text)


def test_unknown_ulimit_is_told_its_neighbour():
    with pytest.raises(UsageError, match="'nofiles' is not a limit") as caught:
        limits.parse_ulimit("nofiles=3")

    assert "nofile" in (caught.value.hint or "")
