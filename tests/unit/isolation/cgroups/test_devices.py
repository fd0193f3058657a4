"""Device rules, and the program they become, which a small eBPF machine here runs.  Pure."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.errors import SpecError
from newroot.isolation.cgroups.devices import ANY, Rule, Rules, read_rules, v1_lines
from newroot.isolation.cgroups.devices_v2 import program
from newroot.isolation.cgroups.resources import Section

DENY_ALL = {"allow": False, "access": "rwm"}


def rules_of(*entries: dict[str, Any]) -> Rules:
    return read_rules(Section({"devices": list(entries)}, "/linux/resources"))


def lines_of(*entries: dict[str, Any]) -> list[str]:
    return [f"{file}: {line}" for file, line in v1_lines(rules_of(*entries))]


def run(code: bytes, kind: str, major: int, minor: int, access: str) -> int:
    """What the kernel's interpreter would answer: only the instructions that we use."""
    asked = sum({"m": 1, "r": 2, "w": 4}[letter] for letter in access)
    context = struct.pack("=III", asked << 16 | {"b": 1, "c": 2}[kind], major, minor)
    registers = [0] * 11
    place = 0
    while True:
        op, pair, offset, constant = struct.unpack_from("=BBhi", code, place * 8)
        left, right = pair & 15, pair >> 4
        unsigned = constant & 0xFFFFFFFF
        place += 1
        if op == 0x61:
            registers[left] = struct.unpack_from("=I", context, offset)[0]
        elif op == 0x54:
            registers[left] &= unsigned
        elif op == 0x74:
            registers[left] >>= unsigned
        elif op == 0xBC:
            registers[left] = registers[right]
        elif op == 0xB4:
            registers[left] = unsigned
        elif op == 0x56:
            place += offset if registers[left] != unsigned else 0
        elif op == 0x5E:
            place += offset if registers[left] != registers[right] else 0
        elif op == 0x46:
            place += offset if registers[left] & unsigned else 0
        elif op == 0x05:
            place += offset
        elif op == 0x95:
            return registers[0]
        else:
            raise AssertionError(f"unknown instruction {op:#x}")


def decide(rules: Rules, kind: str, major: int, minor: int, access: str) -> bool:
    """What the rules mean, said plainly."""
    for rule in rules.exceptions:
        fits = rule.kind == kind and rule.major in (ANY, major) and rule.minor in (ANY, minor)
        covered = set(access) & set(rule.access) if rules.allow else set(access) <= set(rule.access)
        if fits and covered:
            return not rules.allow
    return rules.allow


def test_what_nobody_allowed_is_denied() -> None:
    assert lines_of()[0] == "devices.deny: a *:* rwm"


def test_usual_nodes_are_allowed_after_deny_all() -> None:
    lines = lines_of(DENY_ALL)

    assert "devices.allow: c 1:3 rwm" in lines
    assert "devices.allow: c 136:* rwm" in lines
    assert "devices.allow: c *:* m" in lines


def test_allow_all_leaves_only_that_line() -> None:
    assert lines_of({"allow": True, "access": "rwm"}) == ["devices.allow: a *:* rwm"]


def test_entries_apply_in_order() -> None:
    lines = lines_of(
        {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rwm"},
        {"allow": False, "type": "c", "major": 10, "minor": 229, "access": "w"},
    )

    assert "devices.allow: c 10:229 rm" in lines


def test_deny_all_forgets_what_was_allowed_before() -> None:
    lines = lines_of({"allow": True, "type": "b", "major": 8, "minor": 0}, DENY_ALL)

    assert not [line for line in lines if "8:0" in line]


def test_missing_numbers_and_access_mean_every_one() -> None:
    assert "devices.allow: b 8:* rwm" in lines_of({"allow": True, "type": "b", "major": 8})


def test_denying_out_of_an_allowed_wildcard_is_refused() -> None:
    with pytest.raises(SpecError) as caught:
        rules_of(
            {"allow": True, "type": "c", "major": 10, "access": "rw"},
            {"allow": False, "type": "c", "major": 10, "minor": 229, "access": "r"},
        )

    assert caught.value.pointer == "/linux/resources/devices/1"


@pytest.mark.parametrize(
    ("entry", "member"),
    [
        ({"type": "p"}, "/type"),
        ({"type": "c", "access": "rx"}, "/access"),
        ({"type": "c", "major": -2}, "/major"),
        ({"type": "c", "minor": 2**32}, "/minor"),
        ({"allow": "yes"}, "/allow"),
    ],
)
def test_wrong_entry_is_pointed_at(entry: dict[str, Any], member: str) -> None:
    with pytest.raises(SpecError) as caught:
        rules_of({"allow": True, **entry})

    assert caught.value.pointer == "/linux/resources/devices/0" + member


def test_program_refuses_read_write_where_only_writing_is_denied() -> None:
    denied = Rule(kind="c", major=1, minor=3, access="w")
    code = program(Rules(allow=True, exceptions=(denied,)))

    assert run(code, "c", 1, 3, "rw") == 0
    assert run(code, "c", 1, 3, "r") == 1


NUMBERS = st.sampled_from([ANY, 0, 1, 5, 2**31, 2**32 - 1])
ACCESS = st.sets(st.sampled_from("rwm"), min_size=1).map(
    lambda letters: "".join(letter for letter in "rwm" if letter in letters)
)
KINDS = st.sampled_from("bc")
RULES = st.builds(
    lambda allow, exceptions: Rules(allow=allow, exceptions=tuple(exceptions)),
    st.booleans(),
    st.lists(
        st.builds(
            lambda kind, major, minor, access: Rule(
                kind=kind, major=major, minor=minor, access=access
            ),
            KINDS,
            NUMBERS,
            NUMBERS,
            ACCESS,
        ),
        max_size=6,
    ),
)


@given(RULES, KINDS, NUMBERS, NUMBERS, ACCESS)
def test_program_decides_as_the_rules_do(
    rules: Rules, kind: str, major: int, minor: int, access: str
) -> None:
    major, minor = max(major, 0), max(minor, 0)

    assert run(program(rules), kind, major, minor, access) == decide(
        rules, kind, major, minor, access
    )
