"""Scheduler, io priority, personality, memory policy, affinity: as steps, or refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.errors import SpecError
from newroot.isolation.tuning import affinity_steps, parse_list, tuning_steps
from newroot.plan import steps as s


def test_nothing_asked_is_nothing_done() -> None:
    assert tuning_steps({}, {}) == ()
    assert affinity_steps({}, "final") == ()


def test_a_deadline_has_its_times() -> None:
    times = {"runtime": 1, "deadline": 2, "period": 3}
    flags = ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN"]
    (step,) = tuning_steps({"scheduler": {"policy": "SCHED_DEADLINE", "flags": flags, **times}}, {})

    assert step == s.SetScheduler(
        policy=6, flags=1 | 4, runtime_ns=1, deadline_ns=2, period_ns=3, why="asked for"
    )


@pytest.mark.parametrize(
    ("process", "linux", "pointer"),
    [
        ({"scheduler": {"nice": 1}}, {}, "/process/scheduler/policy"),
        ({"scheduler": {"policy": "SCHED_X"}}, {}, "/process/scheduler/policy"),
        ({"scheduler": {"policy": "SCHED_FIFO"}}, {}, "/process/scheduler/priority"),
        (
            {"scheduler": {"policy": "SCHED_OTHER", "priority": 1}},
            {},
            "/process/scheduler/priority",
        ),
        ({"scheduler": {"policy": "SCHED_OTHER", "nice": 20}}, {}, "/process/scheduler/nice"),
        ({"scheduler": {"policy": "SCHED_OTHER", "period": 9}}, {}, "/process/scheduler/period"),
        ({"scheduler": {"policy": "SCHED_RR", "flags": ["X"]}}, {}, "/process/scheduler/priority"),
        ({"scheduler": {"policy": "SCHED_IDLE", "flags": ["X"]}}, {}, "/process/scheduler/flags/0"),
        ({"ioPriority": {"priority": 1}}, {}, "/process/ioPriority/class"),
        (
            {"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}},
            {},
            "/process/ioPriority/priority",
        ),
        ({}, {"personality": {"domain": "BSD"}}, "/linux/personality/domain"),
        ({}, {"personality": {"domain": "LINUX", "flags": ["X"]}}, "/linux/personality/flags"),
        ({}, {"memoryPolicy": {"mode": "MPOL_BIND"}}, "/linux/memoryPolicy/nodes"),
        ({}, {"memoryPolicy": {"mode": "MPOL_LOCAL", "nodes": "0"}}, "/linux/memoryPolicy/nodes"),
        ({}, {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "x"}}, "/linux/memoryPolicy/nodes"),
        (
            {},
            {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["X"]}},
            "/linux/memoryPolicy/flags/0",
        ),
    ],
)
def test_what_may_not_be_is_refused_with_its_place(
    process: dict[str, Any], linux: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(SpecError) as caught:
        tuning_steps(process, linux)

    assert caught.value.pointer == pointer


@given(st.sets(st.integers(0, 8191), min_size=1, max_size=30))
def test_a_list_is_read_as_the_kernel_writes_it(numbers: set[int]) -> None:
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    text = ",".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)

    assert parse_list(text, "/p") == tuple(sorted(numbers))


@given(st.text(max_size=20))
def test_no_text_is_read_as_what_it_is_not(text: str) -> None:
    try:
        found = parse_list(text, "/p")
    except SpecError:
        return
    assert found
    assert all(0 <= number < 8192 for number in found)
