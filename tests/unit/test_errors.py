"""Errors: the sentence, the attributes, and both again on the far side of a pickle."""

from __future__ import annotations

import ast
import copy
import errno
import inspect
import pickle

import pytest

from newroot import errors
from newroot.errors import NewrootError

#: For each class the keyword arguments that it takes besides the message.
EXTRA: dict[str, dict[str, object]] = {
    "SpecError": {"pointer": "/linux/namespaces/2"},
    "UnsupportedError": {"feature": "idmapped mounts", "tried": "mount_setattr: EPERM"},
    "SyscallError": {"errno": errno.ENOENT, "call": "mkdir", "target": "/x"},
    "StepError": {
        "errno": errno.EINVAL,
        "step": "pivot to /newroot",
        "index": 14,
        "total": 31,
        "kernel_log": "overlay: workdir and upperdir must reside under the same mount",
    },
    "RegistryError": {"url": "https://registry.example/v2/", "status": 429},
    "WrongStatus": {"status": "stopped", "wanted": "running"},
}


def _all_classes(top: type[NewrootError] = NewrootError) -> list[type[NewrootError]]:
    found = [] if top.__name__.startswith("_") else [top]
    for kind in top.__subclasses__():
        found += _all_classes(kind)
    return found


def _make(kind: type[NewrootError]) -> NewrootError:
    arguments: dict[str, object] = {"hint": "try again", **EXTRA.get(kind.__name__, {})}
    return kind("mount overlay on /newroot: Invalid argument (EINVAL)", **arguments)  # type: ignore[arg-type]


def _seen(error: NewrootError) -> dict[str, object]:
    state = dict(vars(error))
    if isinstance(error, OSError):
        state.update(errno=error.errno, strerror=error.strerror)
    return {"type": type(error), "args": error.args, "str": str(error), **state}


@pytest.mark.parametrize("kind", _all_classes(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_error_survives_pickling(kind: type[NewrootError], protocol: int) -> None:
    error = _make(kind)
    again = pickle.loads(pickle.dumps(error, protocol))

    assert _seen(again) == _seen(error)


@pytest.mark.parametrize("kind", _all_classes(), ids=lambda kind: kind.__name__)
def test_error_survives_copying(kind: type[NewrootError]) -> None:
    error = _make(kind)

    assert _seen(copy.copy(error)) == _seen(error)


@pytest.mark.parametrize("kind", _all_classes(), ids=lambda kind: kind.__name__)
def test_notes_survive_pickling(kind: type[NewrootError]) -> None:
    error = _make(kind)
    error.add_note("while making container c1")
    again = pickle.loads(pickle.dumps(error))

    assert again.__notes__ == ["while making container c1"]


@pytest.mark.parametrize("kind", _all_classes(), ids=lambda kind: kind.__name__)
def test_every_error_says_what_it_is_for(kind: type[NewrootError]) -> None:
    assert kind.__doc__
    assert _make(kind).hint == "try again"


def test_every_class_that_takes_more_is_listed_here() -> None:
    assert set(EXTRA) - {kind.__name__ for kind in _all_classes()} == set()


def test_the_tree_in_the_docstring_names_every_class() -> None:
    text = errors.__doc__ or ""

    assert [kind.__name__ for kind in _all_classes() if kind.__name__ not in text] == []


def test_a_syscall_error_is_caught_as_an_oserror_with_its_errno() -> None:
    error = _make(errors.SyscallError)

    assert isinstance(error, OSError)
    assert error.errno == errno.ENOENT
    assert str(error) == "mount overlay on /newroot: Invalid argument (EINVAL)"


def test_a_usage_error_is_a_value_error() -> None:
    assert isinstance(_make(errors.UsageError), ValueError)


def test_a_spec_error_says_the_place_first() -> None:
    error = errors.SpecError("unknown namespace 'nett'", pointer="/linux/namespaces/2")

    assert str(error) == "/linux/namespaces/2: unknown namespace 'nett'"


def test_errors_imports_nothing() -> None:
    tree = ast.parse(inspect.getsource(errors))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]

    assert [ast.unparse(node) for node in imports] == ["from __future__ import annotations"]
