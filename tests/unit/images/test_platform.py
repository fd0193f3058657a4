"""Which of an index's images is for whom: as containerd's platforms package has it."""

from __future__ import annotations

import pytest

from newroot.errors import UsageError
from newroot.images.platform import host_platform, parse_platform


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", "linux/amd64"),
        ("amd64", "linux/amd64"),
        ("x86_64", "linux/amd64"),
        ("linux/aarch64", "linux/arm64/v8"),
        ("linux/arm/v6", "linux/arm/v6"),
        ("armhf", "linux/arm/v7"),
        ("LINUX/ARM64", "linux/arm64"),
        ("linux", str(host_platform())),
    ],
)
def test_what_people_type(text, expected):
    assert expected == str(parse_platform(text))


@pytest.mark.parametrize("text", ["", "/", "a/b/c/d", "windows/amd64", "linux/", "linux/a b"])
def test_what_is_no_platform(text):
    with pytest.raises(UsageError, match="read platform"):
        parse_platform(text)


@pytest.mark.parametrize(
    ("wanted", "offered", "chosen"),
    [
        ("linux/amd64", ["arm64", "amd64"], 1),
        ("linux/amd64", ["amd64/v3", "amd64"], 1),
        ("linux/amd64/v3", ["amd64", "amd64/v3"], 1),
        ("linux/amd64/v3", ["amd64", "arm64"], 0),
        ("linux/amd64", ["amd64/v3"], None),
        ("linux/arm64", ["arm/v7", "arm64/v8"], 1),
        ("linux/arm64/v8", ["arm64"], 0),
        ("linux/arm/v7", ["arm/v5", "arm/v6"], 1),
        ("linux/arm/v6", ["arm/v7", "arm/v5"], 1),
        ("linux/arm/v6", ["arm/v7"], None),
        ("linux/s390x", ["amd64"], None),
    ],
)
def test_the_best_that_runs_is_chosen(wanted, offered, chosen):
    ranks = []
    for number, words in enumerate(offered):
        architecture, _, variant = words.partition("/")
        untrusted = {"os": "linux", "architecture": architecture, "variant": variant}
        rank = parse_platform(wanted).rank(untrusted)
        if rank is not None:
            ranks.append((rank, number))
    assert chosen == (min(ranks)[1] if ranks else None)


@pytest.mark.parametrize("untrusted", [7, [], "linux/amd64", {}, {"os": 1, "architecture": []}])
def test_what_is_no_platform_object_suits_nobody(untrusted):
    assert host_platform().rank(untrusted) is None
