"""The proof of the harness: bugs that somebody could well make, each of which a test must catch.

A test that never failed proves nothing. Each patch in this folder puts one bug into a copy of the project; its head
says what the bug is and which tests must catch it. Those must fail there, by assertion, and pass without it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.faults.seeded.verdicts import ASSERTION

FOLDER = Path(__file__).parent

_BUG = "Bug: "
_CAUGHT_BY = "Caught by: "
_ERROR = " with "
_CHANGED = re.compile(r"^--- a/(\S+)", re.MULTILINE)


class HeadMissing(ValueError):
    """The head of a patch must say what the bug is and which tests must catch it."""


@dataclass(frozen=True, slots=True)
class SeededBug:
    """One bug. `tests` are node ids, without parameters for "any case of it"; each must fail.

    Each must fail by assertion, unless it is given the name of the error that the bug runs into: that of a constraint
    of the database, say, which holds where the code does not.
    """

    name: str
    story: str
    tests: Mapping[str, str]
    patch: Path
    changes_schema: bool

    @property
    def title(self) -> str:
        """The name without its number."""
        return self.name.partition("-")[2]


def seeded_bugs() -> list[SeededBug]:
    """Return all of them, in the order of their numbers. Raises `HeadMissing`."""
    return [_read(path) for path in sorted(FOLDER.glob("*.patch"))]


def _read(path: Path) -> SeededBug:
    text = path.read_text()
    head, _, _ = text.partition("--- a/")
    stories = _told(head, _BUG)
    tests = dict(_test(told) for told in _told(head, _CAUGHT_BY))
    if len(stories) != 1 or not tests:
        raise HeadMissing(f"{path.name}: begin with one line {_BUG!r} and a line {_CAUGHT_BY!r} for each test")
    changes_schema = any("/migrations/" in changed for changed in _CHANGED.findall(text))
    return SeededBug(path.stem, stories[0], tests, path, changes_schema)


def _test(told: str) -> tuple[str, str]:
    test, _, error = told.partition(_ERROR)
    return test, error or ASSERTION


def _told(head: str, label: str) -> tuple[str, ...]:
    return tuple(line.removeprefix(label).strip() for line in head.splitlines() if line.startswith(label))
