"""A config's capability sets as masks."""

from __future__ import annotations

import pytest

from newroot.errors import SpecError
from newroot.isolation import capabilities
from newroot.isolation.capabilities import Masks

CHOWN, KILL, BPF = 1 << 0, 1 << 5, 1 << 39


def test_sets_become_masks():
    both = ["CAP_CHOWN", "CAP_KILL"]
    config = {"bounding": both, "permitted": both, "effective": ["CAP_KILL"]}

    assert capabilities.from_oci(config) == Masks(
        bounding=CHOWN | KILL, permitted=CHOWN | KILL, effective=KILL
    )
    assert capabilities.from_oci(None) == Masks()


def test_what_the_kernel_is_too_old_for_is_left_out():
    assert capabilities.from_oci({"bounding": ["CAP_BPF", "CAP_KILL"]}, last=37).bounding == KILL
    assert capabilities.from_oci({"bounding": ["CAP_BPF"]}, last=40).bounding == BPF


def test_ambient_that_no_process_can_have_is_left_out():
    every = ["CAP_CHOWN", "CAP_KILL"]
    config = {"permitted": every, "inheritable": ["CAP_KILL"], "ambient": every}

    assert capabilities.from_oci(config).ambient == KILL


@pytest.mark.parametrize(
    ("config", "pointer"),
    [
        ([], "/process/capabilities"),
        ({"bounding": "CAP_KILL"}, "/process/capabilities/bounding"),
        ({"bounding": ["CAP_KILL", 5]}, "/process/capabilities/bounding/1"),
        ({"ambient": [["x"]]}, "/process/capabilities/ambient/0"),
        ({"effective": ["CAP_KILL"]}, "/process/capabilities/effective"),
    ],
)
def test_wrong_set_names_its_place(config, pointer):
    with pytest.raises(SpecError) as caught:
        capabilities.from_oci(config)

    assert caught.value.pointer == pointer


def test_what_cannot_be_given_is_left_out_and_told_once():
    config = {"bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_NEW"], "permitted": ["CAP_NEW", "kill"]}

    assert capabilities.from_oci(config, available=KILL).bounding == KILL
    assert capabilities.left_out(config, KILL) == ("CAP_CHOWN", "CAP_NEW", "kill")


def test_config_of_a_container_leads_back_to_its_names():
    found = capabilities.from_oci(capabilities.to_oci(("CAP_CHOWN", "CAP_KILL")))

    assert found == Masks(bounding=CHOWN | KILL, permitted=CHOWN | KILL, effective=CHOWN | KILL)
