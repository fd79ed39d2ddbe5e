"""Every step of every definition, against everything that can go wrong with a step.

The cases are made from the definitions: a step that is added is covered on the day it is written.
"""

from datetime import timedelta

import pytest

from outbox.contracts import ACTION, COMPENSATION
from sagas.definition import CLOSE, SagaDefinition, Step
from sagas.engine import decide, due_at
from sagas.inputs import DeadlinePassed, ResolveStuck, RetryStuck, SkipStuck, Succeeded, Wish
from sagas.testing import BEGIN, Story, given, sample
from tests.unit.sagas.cases import (
    AFTER_PIVOT,
    BEFORE_PIVOT,
    DEFINITIONS,
    EVERY,
    FROM_PIVOT,
    PIVOTS,
    each,
    each_that_can_fail,
)


def reached(definition: SagaDefinition, step: Step) -> Story:
    return given(definition).started_by(sample(definition.started_by)).reach(step.name)


def fail(story: Story, step: Step, *, definite: bool = True) -> None:
    assert step.action.failure is not None
    story.answer(sample(step.action.failure, reason="because", definite=definite), step=step.name)


def assert_undone(story: Story, definition: SagaDefinition, step: Step, *, itself: bool, reason: str) -> None:
    """All that may have been done is undone, group by group in reverse, then the saga is closed. No more."""
    groups = [{s.name for s in group} for group in definition.groups[: definition.group_of(step.name) + 1]]
    if not itself:
        groups[-1].discard(step.name)
    turned_at = len(story.expect_anything().sent)
    turned_at -= sum(sent.order.direction == COMPENSATION or sent.order.step == CLOSE for sent in story.sent)

    story.settle()

    after = [sent.order for sent in story.sent[turned_at:]]
    for group in reversed(groups):
        undoing, after = after[: len(group)], after[len(group) :]
        assert {order.step for order in undoing} == group
        assert all(order.direction == COMPENSATION for order in undoing)
        assert all(type(o.command) is definition.by_name[o.step].compensation for o in undoing)
    closing = [definition.on_compensated] if definition.on_compensated else []
    assert [type(order.command) for order in after] == closing
    story.expect_ended("COMPENSATED", reason=reason)


def assert_completes(story: Story, definition: SagaDefinition) -> None:
    story.settle().expect_ended("COMPLETED", reason="")
    sent = [(s.order.step, s.order.direction) for s in story.sent]
    assert sent == [(s.name, ACTION) for group in definition.groups for s in group]


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda d: d.name)
def test_all_goes_well(definition: SagaDefinition) -> None:
    assert_completes(given(definition).started_by(sample(definition.started_by)), definition)


@each_that_can_fail([*BEFORE_PIVOT, *PIVOTS])
def test_a_definite_failure_undoes_what_came_before(definition: SagaDefinition, step: Step) -> None:
    story = reached(definition, step)

    fail(story, step)

    assert_undone(story, definition, step, itself=False, reason="because")


@each_that_can_fail(BEFORE_PIVOT)
def test_a_failure_that_may_have_acted_is_undone_too(definition: SagaDefinition, step: Step) -> None:
    story = reached(definition, step)

    fail(story, step, definite=False)

    assert_undone(story, definition, step, itself=True, reason="because")


@each(BEFORE_PIVOT)
def test_a_dead_letter_undoes_the_step_too(definition: SagaDefinition, step: Step) -> None:
    story = reached(definition, step)

    story.dead_letter(step=step.name)

    assert_undone(story, definition, step, itself=True, reason="step_failed")


@each(BEFORE_PIVOT)
def test_a_missed_deadline_undoes_the_step_too(definition: SagaDefinition, step: Step) -> None:
    story = reached(definition, step)

    story.deadline_passes()

    assert_undone(story, definition, step, itself=True, reason="deadline_exceeded")


@each(EVERY)
def test_nothing_happens_before_the_deadline(definition: SagaDefinition, step: Step) -> None:
    instance = reached(definition, step).instance
    due = due_at(definition, instance)
    assert due is not None
    assert due == min(
        state.started_at + definition.by_name[name].deadline
        for name, state in instance.steps.items()
        if state.started_at and not state.ended_at
    )

    assert decide(definition, instance, DeadlinePassed(), due - timedelta(microseconds=1)).ignored
    assert not decide(definition, instance, DeadlinePassed(), due).ignored


@each(FROM_PIVOT)
def test_a_retry_gets_its_full_time_again(definition: SagaDefinition, step: Step) -> None:
    story = reached(definition, step)
    before = story.instance.steps[step.name].started_at

    after = story.dead_letter(step=step.name).operator(RetryStuck()).instance.steps[step.name].started_at

    assert before is not None
    assert after is not None
    assert after > before


@each(BEFORE_PIVOT)
def test_a_cancel_in_flight_undoes_the_step_too(definition: SagaDefinition, step: Step) -> None:
    story = reached(definition, step)

    story.cancel("second_thoughts")

    assert_undone(story, definition, step, itself=True, reason="second_thoughts")


@each(FROM_PIVOT)
def test_a_cancel_from_the_pivot_on_changes_nothing(definition: SagaDefinition, step: Step) -> None:
    story = reached(definition, step)
    before = story.instance

    story.cancel("second_thoughts")

    assert story.instance == before
    assert_completes(story, definition)


@each_that_can_fail(PIVOTS)
def test_a_pivot_that_may_have_acted_waits_for_a_person(definition: SagaDefinition, step: Step) -> None:
    story = reached(definition, step)

    fail(story, step, definite=False)

    story.expect_stuck(step.name)
    assert_completes(story.operator(RetryStuck()), definition)


@each_that_can_fail(AFTER_PIVOT)
def test_a_failure_after_the_pivot_waits_for_a_person(definition: SagaDefinition, step: Step) -> None:
    story = reached(definition, step)

    fail(story, step)

    story.expect_stuck(step.name)
    assert_completes(story.operator(RetryStuck()), definition)


@each(FROM_PIVOT)
def test_a_dead_letter_from_the_pivot_on_waits_for_a_person(definition: SagaDefinition, step: Step) -> None:
    story = reached(definition, step)

    story.dead_letter(step=step.name)

    story.expect_stuck(step.name)
    assert_completes(story.operator(RetryStuck()), definition)


@each(FROM_PIVOT)
def test_a_missed_deadline_from_the_pivot_on_waits_for_a_person(definition: SagaDefinition, step: Step) -> None:
    story = reached(definition, step)

    story.deadline_passes()

    story.expect_stuck(*(s.name for s in definition.groups[definition.group_of(step.name)]))
    assert_completes(story.operator(RetryStuck()), definition)


@each(FROM_PIVOT)
def test_a_late_answer_frees_a_stuck_step(definition: SagaDefinition, step: Step) -> None:
    story = reached(definition, step).dead_letter(step=step.name)

    story.answer(sample(step.action.success), step=step.name)

    assert_completes(story, definition)


@each(FROM_PIVOT)
@pytest.mark.parametrize(("wish", "status"), [(SkipStuck(), "SKIPPED"), (ResolveStuck(), "RESOLVED")], ids=str)
def test_an_operator_goes_on_without_a_stuck_step(
    definition: SagaDefinition, step: Step, wish: Wish, status: str
) -> None:
    story = reached(definition, step).dead_letter(step=step.name)

    story.operator(wish)

    story.expect_step(step.name, status)
    assert_completes(story, definition)


@each(EVERY)
def test_a_duplicate_answer_changes_nothing(definition: SagaDefinition, step: Step) -> None:
    story = reached(definition, step).answer(sample(step.action.success), step=step.name).expect_anything()
    before = story.instance

    story.answer(sample(step.action.success), step=step.name)

    assert story.instance == before
    assert_completes(story.expect_nothing(), definition)


@each_that_can_fail(EVERY)
def test_a_failure_after_a_success_changes_nothing(definition: SagaDefinition, step: Step) -> None:
    story = reached(definition, step).answer(sample(step.action.success), step=step.name).expect_anything()
    before = story.instance

    fail(story, step)

    assert story.instance == before


@each(BEFORE_PIVOT)
def test_a_success_that_comes_too_late_is_undone(definition: SagaDefinition, step: Step) -> None:
    story = reached(definition, step).deadline_passes().expect_anything()
    before = story.instance

    story.answer(sample(step.action.success), to=step.action, step=step.name)

    assert story.instance == before
    assert_undone(story, definition, step, itself=True, reason="deadline_exceeded")


@each(EVERY)
def test_an_answer_after_the_end_changes_nothing(definition: SagaDefinition, step: Step) -> None:
    story = reached(definition, step).settle()
    before = story.instance

    story.answer(sample(step.action.success), to=step.action, step=step.name)

    assert story.expect_nothing().instance == before


@each(EVERY)
def test_an_answer_before_its_command_changes_nothing(definition: SagaDefinition, step: Step) -> None:
    instance = given(definition).started_by(sample(definition.started_by)).instance

    decision = decide(definition, instance, Succeeded(step.name, COMPENSATION), BEGIN)

    assert decision.ignored
    if definition.group_of(step.name):
        assert decide(definition, instance, Succeeded(step.name, ACTION), BEGIN).ignored
