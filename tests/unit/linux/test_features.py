"""Probes: they answer, they say what they tried, and they leave nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from newroot.linux import features


def open_files():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("name", features.NAMES)
def test_every_probe_says_what_it_tried_and_leaves_nothing(name):
    def here():
        namespaces = [os.readlink(f"/proc/self/ns/{each}") for each in os.listdir("/proc/self/ns")]
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_bytes()
        return namespaces, Path("/proc/self/mountinfo").read_bytes(), open_files(), children

    before = here()
    probe = features.probe(name)

    assert len(probe.tried) > 5
    assert before == here()


def test_probe_of_what_fails_tells_the_kernels_words(monkeypatch):
    def attempt() -> str:
        """open a door"""
        raise PermissionError(1, "Operation not permitted", "open")

    probe = features._in_child(attempt)

    assert probe == features.Probe(works=False, tried="open: Operation not permitted (EPERM)")


def test_probe_whose_child_dies_does_not_work():
    def attempt() -> str:
        """fall over"""
        os.kill(os.getpid(), 9)

    probe = features._in_child(attempt)

    assert not probe.works
    assert "fall over: the child ended with status" in probe.tried


def test_unknown_feature_is_a_key_error():
    with pytest.raises(KeyError):
        features.probe("teleportation")
