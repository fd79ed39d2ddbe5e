"""What the two halves of the proof share: a test that the tests are green, and one for each bug."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.faults.seeded.bugs import SeededBug
from tests.faults.seeded.report import SEEDED, row
from tests.faults.seeded.workshop import Workshop, open_workshop


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    """Furnish a workshop for one half of the bugs."""
    with open_workshop(redis_url=os.environ["REDIS_URL"]) as workshop:
        yield workshop


def prove(*, bug: SeededBug, workshop: Workshop, record_property: Callable[[str, object], None]) -> None:
    """Demand that every test that must catch the bug catches it."""
    search = workshop.look_for(bug)
    record_property(SEEDED, row(search))
    assert search.is_caught, f"{search.missed}\n{search.output}"
