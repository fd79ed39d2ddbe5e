"""A pytest plugin for runs with a bug: it notes of each test whether it passed, and if not, how it failed.

The exit code alone cannot tell a test that caught a bug from one that could not even begin.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NOTE_IN = "SEEDED_VERDICTS"

PASSED = "passed"
# An assertion, or an error that was expected and did not come.
ASSERTION = "assertion"

_verdicts: dict[str, str] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[None]:
    """Note how a test went, the first failure of it."""
    report = yield
    if call.excinfo is not None:
        is_assertion = call.excinfo.errisinstance((AssertionError, pytest.fail.Exception))
        error = ASSERTION if is_assertion else call.excinfo.typename
        _verdicts.setdefault(item.nodeid, error if call.when == "call" else f"{error} in {call.when}")
    elif call.when == "call":
        _verdicts[item.nodeid] = PASSED
    return report


def pytest_sessionfinish() -> None:
    """Write the notes down."""
    Path(os.environ[NOTE_IN]).write_text(json.dumps(_verdicts))
