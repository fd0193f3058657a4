"""What an image says about running it comes from a stranger, and may be of any type."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.errors import SpecError
from newroot.oci.image import read_run_config

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.sampled_from(["\0", "/"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
_FIELDS = ("Env", "Cmd", "Entrypoint", "User", "WorkingDir", "Volumes", "StopSignal", "Labels")


@given(st.dictionaries(st.sampled_from(_FIELDS), _JSON))
def test_what_passes_is_what_the_engine_takes_it_for(untrusted: dict[str, object]) -> None:
    try:
        config = read_run_config(untrusted)
    except SpecError:
        return

    for name in ("Env", "Cmd", "Entrypoint"):
        words = config.get(name, [])
        assert isinstance(words, list)
        assert all(isinstance(word, str) and "\0" not in word for word in words)
    for name in ("User", "WorkingDir", "StopSignal"):
        assert isinstance(config.get(name, ""), str)
    assert all(path.startswith("/") and path.strip("/") for path in config.get("Volumes", {}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Env", 1),
        ("Env", [1]),
        ("Cmd", "sh"),
        ("Entrypoint", ["a\0b"]),
        ("Cmd", ["\ud800"]),
        ("User", 0),
        ("WorkingDir", ["/"]),
        ("Volumes", ["/a"]),
        ("Volumes", {"/": {}}),
        ("Volumes", {"relative": {}}),
        ("Volumes", {"/a/../..": {}}),
        ("Volumes", {"/" + "x" * 5000: {}}),
    ],
)
def test_a_field_of_the_wrong_type_is_named(field: str, value: object) -> None:
    with pytest.raises(SpecError, match=f"^/config/{field}"):
        read_run_config({field: value})


def test_a_field_that_is_null_is_not_there() -> None:
    assert read_run_config({"Cmd": None, "Env": ["A=b"]}) == {"Env": ["A=b"]}
