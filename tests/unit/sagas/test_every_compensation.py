"""Every compensation of every definition, against everything that can go wrong while a saga is undone.

The cases are made from the definitions, as those of the steps are.
"""

import pytest

from outbox.contracts import COMPENSATION, Command
from sagas.definition import CLOSE, SagaDefinition, Step
from sagas.inputs import Abandon, ResolveStuck, RetryStuck, SkipStuck, Wish
from sagas.testing import Story, given, sample
from tests.unit.sagas.cases import BEFORE_PIVOT, DEFINITIONS, EVERY, FROM_PIVOT, each

CLOSED = [pytest.param(d, id=d.name) for d in DEFINITIONS if d.on_compensated is not None]


def undoing(definition: SagaDefinition, step: Step) -> Story:
    """The step was cut short by a customer, and is being undone."""
    story = given(definition).started_by(sample(definition.started_by)).reach(step.name)
    return story.cancel("second_thoughts").expect_anything()


def stuck(definition: SagaDefinition, step: Step) -> Story:
    story = undoing(definition, step).dead_letter(to=step.compensation, step=step.name)
    return story.expect_stuck(step.name)


def undo_of(step: Step) -> type[Command]:
    assert step.compensation is not None
    return step.compensation


@each(BEFORE_PIVOT)
def test_while_one_is_stuck_nothing_new_is_sent(definition: SagaDefinition, step: Step) -> None:
    story = stuck(definition, step)

    story.settle()

    story.expect_nothing().expect_stuck(step.name)


@each(BEFORE_PIVOT)
def test_a_missed_deadline_waits_for_a_person(definition: SagaDefinition, step: Step) -> None:
    story = undoing(definition, step)

    story.deadline_passes()

    story.expect_stuck(*(s.name for s in definition.groups[definition.group_of(step.name)]))


@each(BEFORE_PIVOT)
@pytest.mark.parametrize("wish", [RetryStuck(), SkipStuck(), ResolveStuck()], ids=lambda w: type(w).__name__)
def test_an_operator_lets_it_go_on(definition: SagaDefinition, step: Step, wish: Wish) -> None:
    story = stuck(definition, step).settle()

    story.operator(wish).settle()

    story.expect_ended("COMPENSATED", reason="second_thoughts")
    undone = {s.order.step for s in story.sent if s.order.direction == COMPENSATION}
    assert undone == {s.name for group in definition.groups[: definition.group_of(step.name) + 1] for s in group}


@each(BEFORE_PIVOT)
def test_a_late_answer_frees_it(definition: SagaDefinition, step: Step) -> None:
    story = stuck(definition, step)

    story.answer(sample(undo_of(step).success), to=step.compensation, step=step.name)

    story.expect_step(step.name, "COMPENSATED").settle().expect_ended("COMPENSATED")


@each(BEFORE_PIVOT)
def test_a_duplicate_answer_changes_nothing(definition: SagaDefinition, step: Step) -> None:
    answer = sample(undo_of(step).success)
    story = undoing(definition, step).answer(answer, to=step.compensation, step=step.name).expect_anything()
    before = story.instance

    story.answer(answer, to=step.compensation, step=step.name)

    assert story.expect_nothing().instance == before


@each(BEFORE_PIVOT)
def test_a_second_cancel_changes_nothing(definition: SagaDefinition, step: Step) -> None:
    story = undoing(definition, step)
    before = story.instance

    story.cancel("third_thoughts")

    assert story.expect_nothing().instance == before


@each(BEFORE_PIVOT)
def test_an_abandoned_saga_stays_as_it_is(definition: SagaDefinition, step: Step) -> None:
    story = stuck(definition, step).operator(Abandon()).expect_ended("ABANDONED")
    before = story.instance

    story.answer(sample(undo_of(step).success), to=step.compensation, step=step.name).cancel("too_late")

    assert story.expect_nothing().instance == before
    story.expect_refused(RetryStuck(), "the saga has ended: ABANDONED")


@each(BEFORE_PIVOT)
def test_a_fresh_attempt_is_a_new_step_on_the_wire(definition: SagaDefinition, step: Step) -> None:
    story = stuck(definition, step)

    story.operator(RetryStuck(fresh=frozenset({step.name})))

    story.expect_compensation(undo_of(step), step=f"{step.name}~2")
    story.answer(sample(undo_of(step).success), step=step.name)
    story.expect_nothing().expect_step(step.name, "COMPENSATING")
    story.answer(sample(undo_of(step).success), step=f"{step.name}~2")
    story.expect_step(step.name, "COMPENSATED").settle().expect_ended("COMPENSATED")


@each(FROM_PIVOT)
def test_a_fresh_attempt_from_the_pivot_on_is_a_new_step_on_the_wire(definition: SagaDefinition, step: Step) -> None:
    story = given(definition).started_by(sample(definition.started_by)).reach(step.name)
    for generation in (2, 3):
        story.dead_letter(to=step.action).operator(RetryStuck(fresh=frozenset({step.name})))
        story.expect(step.action, step=f"{step.name}~{generation}")

    story.dead_letter(step=f"{step.name}~2").expect_step(step.name, "RUNNING")

    story.settle().expect_ended("COMPLETED")


@each(EVERY)
def test_nothing_is_there_to_be_retried_while_all_goes_well(definition: SagaDefinition, step: Step) -> None:
    story = given(definition).started_by(sample(definition.started_by)).reach(step.name)

    for wish in (RetryStuck(), SkipStuck(), ResolveStuck()):
        story.expect_refused(wish, "nothing is stuck: the saga is RUNNING")


@pytest.mark.parametrize("definition", CLOSED)
def test_a_close_that_fails_waits_for_a_person(definition: SagaDefinition) -> None:
    story = given(definition).started_by(sample(definition.started_by)).expect_anything().cancel("second_thoughts")
    assert definition.on_compensated is not None
    story.reach(CLOSE).dead_letter(to=definition.on_compensated).expect_stuck(CLOSE)

    story.operator(RetryStuck(fresh=frozenset({CLOSE})))

    story.expect(definition.on_compensated, step=f"{CLOSE}~2").settle()
    story.expect_ended("COMPENSATED", reason="second_thoughts")


@pytest.mark.parametrize("definition", CLOSED)
def test_a_close_that_hangs_waits_for_a_person(definition: SagaDefinition) -> None:
    story = given(definition).started_by(sample(definition.started_by)).expect_anything().cancel("second_thoughts")

    story.reach(CLOSE).deadline_passes()

    story.expect_stuck(CLOSE)
