"""Cases made from the definitions: each saga, and each of its steps by where it stands to the pivot."""

from collections.abc import Iterable

import pytest

from sagas.definition import SagaDefinition, Step, definitions
from tests.unit.sagas.trips import TRIP

DEFINITIONS = [*definitions().values(), TRIP]
EVERY = [(definition, step) for definition in DEFINITIONS for group in definition.groups for step in group]
BEFORE_PIVOT = [(d, step) for d, step in EVERY if d.group_of(step.name) < d.pivot_at]
PIVOTS = [(d, step) for d, step in EVERY if step.pivot]
AFTER_PIVOT = [(d, step) for d, step in EVERY if d.group_of(step.name) > d.pivot_at]
FROM_PIVOT = [*PIVOTS, *AFTER_PIVOT]


def each(cases: Iterable[tuple[SagaDefinition, Step]]) -> pytest.MarkDecorator:
    """Run a test once for each of these steps."""
    named = [pytest.param(d, step, id=f"{d.name}/{step.name}") for d, step in cases]
    return pytest.mark.parametrize(("definition", "step"), named)


def each_that_can_fail(cases: Iterable[tuple[SagaDefinition, Step]]) -> pytest.MarkDecorator:
    """Run a test once for each of these steps whose command has an event of failure."""
    return each((d, step) for d, step in cases if step.action.failure is not None)
