"""Every bug that is put in is caught: the second half of them."""

from collections.abc import Callable

import pytest

from tests.faults.seeded.bugs import SeededBug, seeded_bugs
from tests.faults.seeded.proving import prove, workshop
from tests.faults.seeded.workshop import Workshop

__all__ = ["workshop"]

BUGS = seeded_bugs()[1::2]


def test_without_a_bug_these_tests_are_green(workshop: Workshop) -> None:
    workshop.require_green(BUGS)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_seeded_bug_is_caught(
    bug: SeededBug, workshop: Workshop, record_property: Callable[[str, object], None]
) -> None:
    prove(bug=bug, workshop=workshop, record_property=record_property)
