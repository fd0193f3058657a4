"""``newroot.oci.json`` says what ``json`` says, and says where a document is wrong."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newroot.errors import UsageError
from newroot.oci import json as ours

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text() | st.text(alphabet=st.characters(categories=["Cs", "Cc", "L"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)  # fmt: skip


@given(values)
def test_a_round_trip_keeps_every_value(value: object) -> None:
    assert value == ours.loads(ours.dumps(value))


@given(values)
def test_it_reads_and_writes_as_the_json_module_does(value: object) -> None:
    text = json.dumps(value, separators=(",", ":"))

    assert text == ours.dumps(value)
    assert json.loads(text) == ours.loads(text.encode())
    assert json.dumps(value, sort_keys=True, separators=(",", ":")) == ours.dumps(
        value, sort_keys=True
    )


@given(st.text(alphabet='{}[]",:0123456789.eE+-truefalsn \n\\u') | st.text())
def test_it_refuses_exactly_what_the_json_module_refuses(text: str) -> None:
    try:
        expected = json.loads(text, parse_constant=lambda name: 1 / 0)
    except (ValueError, ZeroDivisionError):
        with pytest.raises(UsageError):
            ours.loads(text)
    else:
        assert expected == ours.loads(text)


@given(st.binary())
def test_no_bytes_raise_anything_but_a_usage_error(data: bytes) -> None:
    try:
        ours.loads(data)
    except UsageError:
        pass


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "read config.json: line 1, column 1: it is empty"),
        (b'{"a": 1,\n "b" 2}', "read config.json: line 2, column 6: expecting ':' delimiter"),
        (b'{"a": }', "read config.json: line 1, column 7: expecting a value, found '}'"),
        (b'{"a": 1} x', "read config.json: line 1, column 10: 'x' after the end of the document"),
        (b'{"a": NaN}', "read config.json: NaN is not JSON"),
        (b'{\n"a": "\xff"}', "read config.json: line 2, column 7: this byte is not UTF-8"),
        (b'"\xc3', "read config.json: line 1, column 2: this byte is not UTF-8"),
        (b"[" * 100_000, "read config.json: it is nested too deeply"),
        (b"\xef\xbb\xbf{}", "read config.json: line 1, column 1: it starts with a byte order mark"),
        (b'{"a', "read config.json: line 1, column 2: unterminated string starting at"),
    ],
)
def test_an_error_names_the_line_and_the_column(text: bytes, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        ours.loads(text, what="config.json")

    assert words == str(caught.value)


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", float("nan"), float("inf")])
def test_what_json_cannot_say_is_not_written(value: object) -> None:
    with pytest.raises(ValueError):
        ours.dumps(value)


def test_neither_json_nor_re_is_imported() -> None:
    program = (
        "import sys; from newroot.oci import json;"
        "json.loads(b'[1, {\"a\": 2.5}]'); json.dumps([1]);"
        "print(sorted({'json', 're', 'enum'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}; {program}"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert "[]" == done.stdout.strip()


SLOW = """
import sys
sys.modules["_json"] = None
from newroot.oci import json as ours
assert ours._json is None
assert ours.loads(b' {"a": [1, 2.5, null]} ') == {"a": [1, 2.5, None]}
assert ours.dumps({"b": 1, "a": "\\udcff"}, sort_keys=True) == '{"a":"\\\\udcff","b":1}'
for text in (b"", b"[NaN]", b"[1", b"{} x", b"[" * 100000):
    try:
        ours.loads(text)
    except ours.UsageError:
        continue
    raise SystemExit(f"accepted {text[:9]!r}")
"""


def test_without_the_c_module_the_json_module_steps_in() -> None:
    subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{SLOW}"], check=True
    )
