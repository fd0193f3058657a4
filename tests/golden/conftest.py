"""``pytest tests/golden --update-golden`` writes the expected files anew; look at the diff."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Call it with a file's name and the text that should be in it."""

    def compare(name: str, actual: str) -> None:
        path = Path(__file__).parent / "plans" / f"{name}.txt"
        if request.config.getoption("--update-golden"):
            path.write_text(actual)
        expected = path.read_text() if path.exists() else ""

        assert actual.split("\n") == expected.split("\n"), "see tests/golden/conftest.py"

    return compare
