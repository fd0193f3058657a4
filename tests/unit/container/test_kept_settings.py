"""Settings and sources come back from JSON as they were."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.container.kept_settings import (
    read_settings,
    read_source,
    settings_document,
    source_document,
)
from newroot.container.settings import Device, Mount, Settings
from newroot.container.source import Source
from newroot.errors import StateError

texts = st.text(max_size=8)
mounts = st.builds(
    Mount,
    type=st.sampled_from(["bind", "volume", "tmpfs"]),
    source=texts | st.none(),
    target=texts,
    options=st.lists(texts, max_size=2).map(tuple),
)
settings_asked = st.builds(
    Settings,
    command=st.lists(texts, max_size=3).map(tuple),
    entrypoint=st.none() | st.lists(texts, max_size=2).map(tuple),
    env=st.lists(st.tuples(texts, texts), max_size=2).map(tuple),
    mounts=st.lists(mounts, max_size=2).map(tuple),
    devices=st.lists(st.builds(Device, host_path=texts, container_path=texts), max_size=2).map(
        tuple
    ),
    cpus=st.none() | st.floats(0.01, 64),
    ulimits=st.lists(st.tuples(texts, st.integers(), st.integers()), max_size=2).map(tuple),
)


@given(settings=settings_asked)
def test_settings_come_back(settings: Settings) -> None:
    written = json.loads(json.dumps(settings_document(settings)))

    assert read_settings(written) == settings


def test_a_source_comes_back() -> None:
    source = Source(lower=("/a", "/b"), image={"Cmd": ["sh"]}, name="n", key="k")

    assert read_source(json.loads(json.dumps(source_document(source)))) == source


def test_a_field_of_another_version_is_passed_over_and_a_missing_one_has_its_default() -> None:
    document = {**settings_document(Settings(command=("a",))), "of the future": 1}
    del document["restart"]

    assert read_settings(document) == Settings(command=("a",))


@pytest.mark.parametrize("document", [{}, {"name": "n"}, {"lower": 1}])
def test_a_damaged_source_is_said_to_be(document: dict[str, object]) -> None:
    with pytest.raises(StateError, match="damaged"):
        read_source(document)


def test_damaged_mounts_are_said_to_be() -> None:
    with pytest.raises(StateError, match="damaged"):
        read_settings({"mounts": ["/a:/b"]})
