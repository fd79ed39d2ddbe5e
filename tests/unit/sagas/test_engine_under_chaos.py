"""The engine against a world that duplicates, reorders, delays and forgets: what must hold after every step.

Two machines drive it. In the truthful one, participants behave as the barrier makes them behave, so that what
the saga believes can be compared with what was really done. In the noisy one, anything at all arrives.
"""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from outbox.contracts import ACTION, COMPENSATION, Direction
from sagas.definition import CLOSE
from sagas.engine import Decision, Order, Refused, decide, due_at, late_steps, start
from sagas.inputs import (
    Abandon,
    CancelRequested,
    DeadLettered,
    DeadlinePassed,
    Failed,
    Input,
    Reply,
    ResolveStuck,
    RetryStuck,
    SkipStuck,
    Succeeded,
)
from sagas.states import (
    DONE,
    IN_FLIGHT,
    LIVE,
    SagaStatus,
    StepState,
    StepStatus,
    step_name,
    wire_step,
)
from sagas.testing import BEGIN, sample
from tests.unit.sagas.cases import DEFINITIONS

CHAOS = settings(
    max_examples=200,
    stateful_step_count=30,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.filter_too_much],
)
UNDONE = (
    StepStatus.PENDING,
    StepStatus.FAILED,
    StepStatus.COMPENSATED,
    StepStatus.SKIPPED,
    StepStatus.RESOLVED,
)
PATIENCE = timedelta(minutes=15)
SHORTEST_DEADLINE, LONGEST_DEADLINE = timedelta(minutes=5), timedelta(hours=1)
SELDOM = st.sampled_from([False] * 4 + [True])
REASONS = st.sampled_from(["", "declined", "out_of_stock"])
FRESH = st.frozensets(st.sampled_from([*(name for d in DEFINITIONS for name in d.by_name), CLOSE]))


class Watched(RuleBasedStateMachine):
    """A saga whose every decision is checked."""

    def __init__(self) -> None:
        super().__init__()
        self.now = BEGIN
        self.sent: Counter[tuple[str, Direction]] = Counter()
        self.commands: list[Order] = []

    @initialize(name=st.sampled_from([definition.name for definition in DEFINITIONS]), head_start=st.integers(0, 6))
    def begin(self, name: str, head_start: int) -> None:
        self.definition = next(definition for definition in DEFINITIONS if definition.name == name)
        event = sample(self.definition.started_by)
        decision = start(self.definition, saga_id=UUID(int=1), key=UUID(int=2), event=event, now=self.now)
        self.instance = decision.instance
        self.take_over(decision)
        for _ in range(head_start):
            self.something_goes_well()

    def something_goes_well(self) -> None:
        flying = [order for order in self.commands if self.is_in_flight(order)]
        for order in flying[:1]:
            self.succeed(order)

    def is_in_flight(self, order: Order) -> bool:
        state = self.instance.steps[step_name(order.step)]
        sent = wire_step(step_name(order.step), state), state.direction
        return state.status in IN_FLIGHT and sent == (order.step, order.direction)

    def succeed(self, order: Order) -> None:
        self.apply(Succeeded(order.step, order.direction))

    def apply(self, event: Input) -> None:
        before = self.instance
        self.now += timedelta(seconds=1)
        try:
            decision = decide(self.definition, before, event, self.now)
        except Refused:
            assert isinstance(event, RetryStuck | SkipStuck | ResolveStuck | Abandon)
            return
        if decision.ignored or before.status not in LIVE:
            assert (decision.instance, decision.orders, decision.stuck) == (before, (), ())
            return
        self.take_over(decision)

    def take_over(self, decision: Decision) -> None:
        before, self.instance = self.instance, decision.instance
        if before.reason:
            assert self.instance.reason == before.reason
        for order in decision.orders:
            self.sent[order.step, order.direction] += 1
            self.commands.append(order)
            self.check_order_of(order)
        for name in decision.stuck:
            assert before.steps[name].status is not StepStatus.STUCK
            assert self.instance.steps[name].status is StepStatus.STUCK

    def check_order_of(self, order: Order) -> None:
        name = step_name(order.step)
        statuses = {step: state.status for step, state in self.instance.steps.items()}
        if name == CLOSE:
            assert self.instance.reason
            assert all(status in UNDONE for step, status in statuses.items() if step != CLOSE)
            return
        at = self.definition.group_of(name)
        earlier = [step.name for group in self.definition.groups[:at] for step in group]
        later = [step.name for group in self.definition.groups[at + 1 :] for step in group]
        if order.direction == ACTION:
            assert not self.instance.reason, "nothing goes forward once the saga has turned back"
            assert all(statuses[step] in DONE for step in earlier), "never past a step that did not succeed"
        else:
            assert self.instance.reason
            assert all(statuses[step] in UNDONE for step in later), "undone in reverse"

    @invariant()
    def each_command_of_a_generation_is_sent_once(self) -> None:
        assert all(times == 1 for times in self.sent.values())

    @invariant()
    def no_saga_is_forgotten(self) -> None:
        statuses = [state.status for state in self.instance.steps.values()]
        is_in_flight = any(status in IN_FLIGHT for status in statuses)
        if self.instance.status in (SagaStatus.RUNNING, SagaStatus.COMPENSATING):
            assert is_in_flight
            assert StepStatus.STUCK not in statuses
        if self.instance.status is SagaStatus.SUSPENDED:
            assert StepStatus.STUCK in statuses
        assert (due_at(self.definition, self.instance) is not None) == is_in_flight

    @invariant()
    def no_outage_moves_a_deadline_for_ever(self) -> None:
        for state in self.instance.steps.values():
            if state.status in IN_FLIGHT and state.extended_to is not None:
                assert state.started_at is not None
                assert state.extended_to <= state.started_at + LONGEST_DEADLINE + PATIENCE

    @invariant()
    def its_direction_fits_its_status(self) -> None:
        if self.instance.status is SagaStatus.RUNNING:
            assert not self.instance.reason
        if self.instance.status is SagaStatus.COMPENSATING:
            assert self.instance.reason

    @invariant()
    def it_ends_with_everything_done_or_everything_undone(self) -> None:
        steps = {name: state.status for name, state in self.instance.steps.items() if name != CLOSE}
        if self.instance.status is SagaStatus.COMPLETED:
            assert all(status in DONE for status in steps.values())
        if self.instance.status is SagaStatus.COMPENSATED:
            assert all(status in UNDONE for status in steps.values())
            if self.definition.on_compensated is not None:
                assert self.instance.steps[CLOSE].status in DONE

    @invariant()
    def past_the_pivot_nothing_is_ever_undone(self) -> None:
        group = self.definition.groups[self.definition.pivot_at]
        if self.instance.steps[group[0].name].status is StepStatus.SUCCEEDED:
            assert not self.instance.reason
            assert not any(direction == COMPENSATION for _, direction in self.sent)

    @invariant()
    def it_survives_being_stored(self) -> None:
        stored = msgspec.json.encode(self.instance.steps)
        assert msgspec.json.decode(stored, type=dict[str, StepState]) == self.instance.steps

    # --- what people and time do, in both machines ---

    @precondition(lambda self: self.instance.status in LIVE)
    @rule(reason=REASONS, is_sure=SELDOM)
    def cancel(self, reason: str, is_sure: bool) -> None:
        if is_sure:
            self.apply(CancelRequested(reason))

    @rule(minutes=st.sampled_from([0, 1, 4, 11, 61]), held_up=FRESH | st.just(frozenset()))
    def time_passes(self, minutes: int, held_up: frozenset[str]) -> None:
        self.now += timedelta(minutes=minutes)
        before, at = self.instance, self.now + timedelta(seconds=1)
        late = set(late_steps(self.definition, before, at))
        self.apply(DeadlinePassed(held_up, PATIENCE))
        if late and late <= held_up and all(self.has_patience_with(before.steps[name], at) for name in late):
            assert self.instance.status == before.status, "an outage turns nothing back"
            assert not late & set(late_steps(self.definition, self.instance, at))

    def has_patience_with(self, state: StepState, at: datetime) -> bool:
        assert state.started_at is not None
        return at < state.started_at + SHORTEST_DEADLINE + PATIENCE

    @rule(wish=st.sampled_from([SkipStuck(), ResolveStuck()]))
    def operator_helps(self, wish: Input) -> None:
        self.apply(wish)


class TruthfulWorld(Watched):
    """Participants that do each thing once, undo it for good, and say what is true, late and often."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: set[tuple[str, Direction]] = set()
        self.really_done: set[str] = set()
        self.replies: list[Reply] = []

    @rule(data=st.data())
    def carry_out(self, data: st.DataObject) -> None:
        self.handle(self.some_command(data), has_effect=True)

    @rule(data=st.data(), reason=REASONS)
    def refuse(self, data: st.DataObject, reason: str) -> None:
        order = self.some_command(data)
        if order.direction == ACTION and step_name(order.step) not in self.really_done:
            self.handle(order, reply=Failed(order.step, order.direction, reason), has_effect=False)

    @rule(data=st.data(), has_effect=st.booleans())
    def lose_the_answer(self, data: st.DataObject, has_effect: bool) -> None:
        order = self.some_command(data)
        if order.direction == ACTION:
            reply = Failed(order.step, order.direction, "timeout", definite=False)
            self.handle(order, reply=reply, has_effect=has_effect)

    @rule(data=st.data(), has_effect=st.booleans())
    def break_down(self, data: st.DataObject, has_effect: bool) -> None:
        order = self.some_command(data)
        if (order.step, order.direction) not in self.taken:
            self.take_effect(order, has_effect=has_effect)
            self.replies.append(DeadLettered(order.step, order.direction, "broken"))

    @precondition(lambda self: self.replies)
    @rule(data=st.data())
    def hear(self, data: st.DataObject) -> None:
        self.apply(data.draw(st.just(self.replies[-1]) | st.sampled_from(self.replies)))

    @rule()
    def operator_retries(self) -> None:
        self.apply(RetryStuck(self.answered_for_good()))

    def succeed(self, order: Order) -> None:
        self.handle(order, has_effect=True)
        if Succeeded(order.step, order.direction) in self.replies:
            super().succeed(order)

    def some_command(self, data: st.DataObject) -> Order:
        """Any that was ever sent, but more often one that is awaited."""
        flying = [order for order in self.commands if self.is_in_flight(order)]
        return data.draw(st.sampled_from(flying or self.commands) | st.sampled_from(self.commands))

    def handle(self, order: Order, *, has_effect: bool, reply: Reply | None = None) -> None:
        if (order.step, order.direction) in self.taken:
            return
        self.taken.add((order.step, order.direction))
        self.take_effect(order, has_effect=has_effect)
        self.replies.append(reply or Succeeded(order.step, order.direction))

    def take_effect(self, order: Order, *, has_effect: bool) -> None:
        name = step_name(order.step)
        if not has_effect:
            return
        if order.direction == ACTION:
            self.really_done.add(name)
        else:
            self.taken.add((name, ACTION))
            self.really_done.discard(name)

    def answered_for_good(self) -> frozenset[str]:
        """The stuck steps whose delivery is gone: only a fresh one can be answered."""
        steps = self.instance.steps.items()
        return frozenset(name for name, state in steps if (wire_step(name, state), state.direction) in self.taken)

    @invariant()
    def what_it_believes_undone_is_undone(self) -> None:
        if self.instance.status is SagaStatus.COMPENSATED:
            by_hand = (StepStatus.SKIPPED, StepStatus.RESOLVED)
            left = {n for n, state in self.instance.steps.items() if n != CLOSE and state.status not in by_hand}
            assert not self.really_done & left

    @invariant()
    def what_it_believes_done_is_done(self) -> None:
        states = self.instance.steps.items()
        assert {n for n, s in states if s.status is StepStatus.SUCCEEDED} <= self.really_done

    @invariant()
    def nothing_is_undone_once_the_pivot_was_really_done(self) -> None:
        pivot = self.definition.groups[self.definition.pivot_at][0].name
        if pivot in self.really_done:
            assert not self.instance.reason

    def teardown(self) -> None:
        """When the chaos is over, every saga ends."""
        for _ in range(100):
            if self.instance.status not in LIVE:
                break
            for order in list(self.commands):
                self.handle(order, has_effect=True)
            for reply in list(self.replies):
                self.apply(reply)
            self.apply(RetryStuck(self.answered_for_good()))
        assert self.instance.status not in LIVE, "the saga never ends"
        self.it_ends_with_everything_done_or_everything_undone()
        self.past_the_pivot_nothing_is_ever_undone()
        self.what_it_believes_undone_is_undone()
        self.what_it_believes_done_is_done()


class Noise(Watched):
    """Replies to anything, whether it was asked or not, true or not."""

    @rule(data=st.data(), definite=st.booleans(), reason=REASONS)
    def anything_arrives(self, data: st.DataObject, definite: bool, reason: str) -> None:
        order = data.draw(st.sampled_from(self.commands))
        any_step = st.sampled_from([*self.instance.steps, CLOSE, "nonsense", "", "~", "~2", "close~x"])
        wire = data.draw(st.just(order.step) | any_step) + data.draw(st.sampled_from(["", "", "~1", "~2"]))
        direction: Direction = data.draw(st.just(order.direction) | st.sampled_from([ACTION, COMPENSATION]))
        kinds: list[Any] = [
            Succeeded(wire, direction),
            Failed(wire, direction, reason, "", definite),
            DeadLettered(wire, direction, "broken"),
        ]
        self.apply(data.draw(st.sampled_from(kinds)))

    @rule(fresh=FRESH)
    def operator_retries(self, fresh: frozenset[str]) -> None:
        self.apply(RetryStuck(fresh))

    @rule(is_sure=SELDOM)
    def operator_abandons(self, is_sure: bool) -> None:
        if is_sure:
            self.apply(Abandon())


TestTruthfulWorld = TruthfulWorld.TestCase
TestTruthfulWorld.settings = CHAOS
TestNoise = Noise.TestCase
TestNoise.settings = CHAOS
