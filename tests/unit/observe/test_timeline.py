"""A timeline's picture and data: to scale, well-formed whatever the words, whole or not there."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.errors import SyscallError, UsageError
from newroot.observe.timeline import check_place, timeline_json, timeline_svg, write_timeline

TIMES = [("new namespaces: mount", 1_000), ("mount proc on /proc", 300_000), ("execute true", 0)]
SVG = "{http://www.w3.org/2000/svg}"


def _bars(svg: str) -> list[ET.Element]:
    return [
        rect
        for rect in ET.fromstring(svg).iter(f"{SVG}rect")
        if "bar" in (rect.get("class") or "").split()
    ]


def test_a_step_begins_where_the_one_before_it_ended() -> None:
    steps = json.loads(timeline_json(TIMES, ["true"]))["steps"]

    assert [step["start_ns"] for step in steps] == [0, 1_000, 301_000]


def test_the_total_is_the_sum_of_the_steps() -> None:
    assert json.loads(timeline_json(TIMES, ["true"]))["total_ns"] == 301_000


def test_bars_are_as_wide_as_their_steps_took() -> None:
    widths = [
        float(bar.get("width", 0)) for bar in _bars(timeline_svg([("a", 1000), ("b", 3000)], []))
    ]

    assert widths[1] / widths[0] == pytest.approx(3, rel=0.01)


def test_the_command_s_own_start_is_not_drawn_as_measured() -> None:
    assert len(_bars(timeline_svg(TIMES, ["true"]))) == 2


def test_a_long_step_stands_out() -> None:
    classes = [bar.get("class") for bar in _bars(timeline_svg(TIMES, ["true"]))]

    assert classes == ["bar", "bar long"]


def test_the_picture_loads_nothing_from_elsewhere() -> None:
    svg = timeline_svg(TIMES, ["true"])

    assert svg.count("http") == 1  # the name of SVG itself
    assert "url(" not in svg
    assert "<script" not in svg


def test_the_picture_is_dark_where_the_reader_s_system_is() -> None:
    assert "prefers-color-scheme: dark" in timeline_svg(TIMES, ["true"])


@given(st.lists(st.tuples(st.text(), st.integers(0, 10**11))), st.lists(st.text()))
def test_the_picture_is_well_formed_whatever_the_words(
    times: list[tuple[str, int]], command: list[str]
) -> None:
    ET.fromstring(timeline_svg(times, command))


@given(st.lists(st.tuples(st.text(), st.integers(0, 10**11)), min_size=1))
def test_no_bar_leaves_the_picture(times: list[tuple[str, int]]) -> None:
    svg = timeline_svg(times, [])
    width = float(ET.fromstring(svg).get("width", 0))

    assert all(float(b.get("x", 0)) + float(b.get("width", 0)) < width for b in _bars(svg))


def test_a_name_that_ends_in_json_gets_json(tmp_path: Path) -> None:
    write_timeline(tmp_path / "t.json", TIMES, ["true"])

    assert json.loads((tmp_path / "t.json").read_text())["command"] == ["true"]


def test_writing_replaces_what_was_there_and_leaves_nothing_beside(tmp_path: Path) -> None:
    (tmp_path / "t.svg").write_text("old")
    write_timeline(tmp_path / "t.svg", TIMES, ["true"])

    assert (tmp_path / "t.svg").read_text().startswith("<svg")
    assert os.listdir(tmp_path) == ["t.svg"]


def test_a_missing_directory_is_said_before_a_start(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"there is no directory {tmp_path}/missing"):
        check_place(tmp_path / "missing/t.svg")


def test_a_directory_is_not_a_place_for_a_timeline(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it is a directory"):
        check_place(tmp_path)


def test_what_the_disk_does_not_take_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    # A name as long as names can be: the one beside it does not fit (ENAMETOOLONG).
    with pytest.raises(SyscallError, match="ENAMETOOLONG"):
        write_timeline(tmp_path / ("t" * 255), TIMES, ["true"])

    assert os.listdir(tmp_path) == []
