"""The saga engine: a pure function from (definition, instance, input, now) to a decision.

No database, no clock, no Django. Around it `sagas.instances` loads, decides and writes in batches.

A saga runs forward group by group. When a step fails before the pivot it turns back and compensates in
reverse, the failing step too unless its failure is definite. What cannot go on by itself is stuck, and a
person is asked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from outbox.contracts import ACTION, COMPENSATION, Command, Direction, Event
from sagas.definition import CLOSE, COMPENSATION_DEADLINE, SagaDefinition, Step
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
    Wish,
)
from sagas.states import (
    AWAITED,
    DONE,
    IN_FLIGHT,
    LIVE,
    TO_UNDO,
    Instance,
    SagaStatus,
    StepState,
    StepStatus,
    step_name,
    wire_step,
)

# A step that an outage holds up is looked at again after this long: soon after the end its deadline counts again.
EXTENSION = timedelta(seconds=10)
# Why a saga turned back when the step itself could not say.
STEP_FAILED = "step_failed"


@dataclass(frozen=True, slots=True)
class Order:
    """A command to publish, with the part of the saga it belongs to, as it goes over the wire."""

    step: str
    direction: Direction
    command: Command


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows: the new instance, commands to publish, steps that just became stuck; or nothing."""

    instance: Instance
    orders: tuple[Order, ...] = ()
    stuck: tuple[str, ...] = ()
    ignored: bool = False


class Refused(Exception):
    """An operator's wish does not fit the state of the saga; the text says why."""


def start(definition: SagaDefinition, *, saga_id: UUID, key: UUID, event: Event, now: datetime) -> Decision:
    """Begin a saga with what the event tells: its first group goes out."""
    data = msgspec.to_builtins(msgspec.convert(event, definition.data, from_attributes=True))
    steps = {step.name: StepState() for group in definition.groups for step in group}
    instance = Instance(saga_id, key, SagaStatus.RUNNING, steps, data)
    return _Turn(definition, instance, now).forward()


def decide(definition: SagaDefinition, instance: Instance, event: Input, now: datetime) -> Decision:
    """Apply one input. What does not fit the state (late, twice, out of order) is ignored, explicitly.

    Raises `Refused` for an operator's wish that does not fit.
    """
    ignored = Decision(instance, ignored=True)
    turn = _Turn(definition, instance, now)
    match event:
        case RetryStuck() | SkipStuck() | ResolveStuck() | Abandon():
            return turn.operator(event)
        case _ if instance.status not in LIVE:
            return ignored
        case CancelRequested(reason=reason):
            return turn.turn_back(reason) if turn.can_turn_back() else ignored
        case DeadlinePassed():
            return turn.deadline_passed(event)
        case Succeeded() | Failed() | DeadLettered():
            return turn.replied(event) if _is_awaited(instance, event) else ignored


def due_at(definition: SagaDefinition, instance: Instance) -> datetime | None:
    """Return when the first step in flight misses its deadline, or None when none is in flight."""
    times = []
    for name, state in instance.steps.items():
        deadline = _deadline(definition, name, state)
        if deadline is not None:
            times.append(max(deadline, state.extended_to or deadline))
    return min(times, default=None)


def late_steps(definition: SagaDefinition, instance: Instance, now: datetime) -> list[str]:
    """Return the steps in flight that miss their deadline, extended or not."""
    late = []
    for name, state in instance.steps.items():
        deadline = _deadline(definition, name, state)
        if deadline is not None and max(deadline, state.extended_to or deadline) <= now:
            late.append(name)
    return late


def _deadline(definition: SagaDefinition, name: str, state: StepState) -> datetime | None:
    """Return the step's own deadline, which no outage moves; None when it is not in flight."""
    if state.status not in IN_FLIGHT or state.started_at is None:
        return None
    step = definition.by_name.get(name)
    if step is None:
        return state.started_at + COMPENSATION_DEADLINE
    return state.started_at + (step.deadline if state.direction == ACTION else step.compensation_deadline)


def _is_awaited(instance: Instance, event: Reply) -> bool:
    name = step_name(event.step)
    state = instance.steps.get(name)
    return (
        state is not None
        and state.status in AWAITED
        and (wire_step(name, state), state.direction) == (event.step, event.direction)
    )


class _Turn:
    """One decision in the making."""

    def __init__(self, definition: SagaDefinition, instance: Instance, now: datetime) -> None:
        self.definition = definition
        self.instance = instance
        self.now = now
        self.steps = dict(instance.steps)
        self.status = instance.status
        self.reason = instance.reason
        self.orders: list[Order] = []
        self.stuck: list[str] = []

    # --- the two directions ---

    def forward(self) -> Decision:
        for group in self.definition.groups:
            if all(self.steps[step.name].status in DONE for step in group):
                continue
            for step in group:
                if self.steps[step.name].status is StepStatus.PENDING:
                    self._send(step.name, step.action, ACTION)
            return self._decision()
        self.status = SagaStatus.COMPLETED
        return self._decision()

    def backward(self) -> Decision:
        for group in reversed(self.definition.groups):
            states = [self.steps[step.name].status for step in group]
            if any(s is StepStatus.COMPENSATING for s in states):
                return self._decision()
            to_undo = [step for step in group if self.steps[step.name].status in TO_UNDO]
            for step in to_undo:
                assert step.compensation is not None  # noqa: S101 - checked when the definition was imported
                self._send(step.name, step.compensation, COMPENSATION)
            if to_undo:
                return self._decision()
        closing = self.definition.on_compensated
        if closing is not None and self.steps.get(CLOSE, StepState()).status not in DONE:
            if CLOSE not in self.steps:
                self.steps[CLOSE] = StepState()
                self._send(CLOSE, closing, ACTION)
            return self._decision()
        self.status = SagaStatus.COMPENSATED
        return self._decision()

    def advance(self) -> Decision:
        """Go on in the direction of travel, unless something is stuck."""
        if any(state.status is StepStatus.STUCK for state in self.steps.values()):
            self.status = SagaStatus.SUSPENDED
            return self._decision()
        if self.reason:
            self.status = SagaStatus.COMPENSATING
            return self.backward()
        self.status = SagaStatus.RUNNING
        return self.forward()

    def can_turn_back(self) -> bool:
        """Whether everything that ran or runs lies before the pivot, and the saga goes forward."""
        begun = [
            self.definition.group_of(name)
            for name, state in self.steps.items()
            if name != CLOSE and state.status is not StepStatus.PENDING
        ]
        return not self.reason and max(begun, default=0) < self.definition.pivot_at

    def turn_back(self, reason: str) -> Decision:
        self.reason = reason or STEP_FAILED
        for name, state in self.steps.items():
            if state.status is StepStatus.RUNNING:
                self._mark(name, StepStatus.UNKNOWN)
        return self.advance()

    # --- inputs ---

    def replied(self, event: Reply) -> Decision:
        name = step_name(event.step)
        if isinstance(event, Succeeded):
            undone = event.direction == COMPENSATION
            self._mark(name, StepStatus.COMPENSATED if undone else StepStatus.SUCCEEDED)
            return self.advance()
        error = event.error if isinstance(event, DeadLettered) else f"{event.reason}: {event.detail}".rstrip(": ")
        definite = isinstance(event, Failed) and event.definite
        if event.direction == COMPENSATION or name == CLOSE or not self._may_turn(name, definite=definite):
            self._stick(name, error)
            return self.advance()
        self._mark(name, StepStatus.FAILED if definite else StepStatus.UNKNOWN, error)
        return self.turn_back(event.reason if isinstance(event, Failed) else STEP_FAILED)

    def deadline_passed(self, event: DeadlinePassed) -> Decision:
        late = late_steps(self.definition, self.instance, self.now)
        if not late:
            return Decision(self.instance, ignored=True)
        to_blame = [name for name in late if not self._extend(name, event)]
        if not to_blame:
            return self._decision()
        if self.can_turn_back():
            for name in to_blame:
                self._mark(name, StepStatus.UNKNOWN, "deadline passed")
            return self.turn_back("deadline_exceeded")
        for name in to_blame:
            self._stick(name, "deadline passed")
        return self.advance()

    def operator(self, wish: Wish) -> Decision:
        if self.instance.status not in LIVE:
            raise Refused(f"the saga has ended: {self.instance.status}")
        if isinstance(wish, Abandon):
            self.status = SagaStatus.ABANDONED
            return self._decision()
        stuck = [name for name, state in self.steps.items() if state.status is StepStatus.STUCK]
        if not stuck:
            raise Refused(f"nothing is stuck: the saga is {self.instance.status}")
        for name in stuck:
            if isinstance(wish, RetryStuck):
                self._resend(name, wish)
            else:
                self._mark(name, StepStatus.SKIPPED if isinstance(wish, SkipStuck) else StepStatus.RESOLVED)
        return self.advance()

    # --- marks ---

    def _may_turn(self, name: str, *, definite: bool) -> bool:
        group = self.definition.group_of(name)
        return group < self.definition.pivot_at or (group == self.definition.pivot_at and definite)

    def _extend(self, name: str, event: DeadlinePassed) -> bool:
        """Give a step more time if it is excused and patience is not over. Says whether it was given."""
        deadline = _deadline(self.definition, name, self.steps[name])
        if name not in event.excused or deadline is None or self.now >= deadline + event.patience:
            return False
        extended_to = min(self.now + EXTENSION, deadline + event.patience)
        self.steps[name] = msgspec.structs.replace(self.steps[name], extended_to=extended_to)
        return True

    def _mark(self, name: str, status: StepStatus, error: str = "") -> None:
        state = self.steps[name]
        self.steps[name] = msgspec.structs.replace(state, status=status, ended_at=self.now, error=error or state.error)

    def _stick(self, name: str, error: str) -> None:
        if self.steps[name].status is not StepStatus.STUCK:
            self.stuck.append(name)
        self._mark(name, StepStatus.STUCK, error)

    def _send(self, name: str, command: type[Command], direction: Direction, edited: Command | None = None) -> None:
        state = msgspec.structs.replace(
            self.steps[name],
            status=StepStatus.RUNNING if direction == ACTION else StepStatus.COMPENSATING,
            direction=direction,
            started_at=self.now,
            ended_at=None,
            extended_to=None,
        )
        self.steps[name] = state
        data = {**self.instance.data, "reason": self.reason} if name == CLOSE else self.instance.data
        self.orders.append(Order(wire_step(name, state), direction, edited or msgspec.convert(data, command)))

    def _resend(self, name: str, wish: RetryStuck) -> None:
        state = self.steps[name]
        if name in wish.fresh:
            self.steps[name] = msgspec.structs.replace(state, generation=state.generation + 1)
            self._send(name, self._command(name, state.direction), state.direction, wish.edited.get(name))
            return
        self.steps[name] = msgspec.structs.replace(
            state,
            status=StepStatus.RUNNING if state.direction == ACTION else StepStatus.COMPENSATING,
            started_at=self.now,
            ended_at=None,
            extended_to=None,
        )

    def _command(self, name: str, direction: Direction) -> type[Command]:
        step: Step | None = self.definition.by_name.get(name)
        command = self.definition.on_compensated if step is None else step.action
        if step is not None and direction == COMPENSATION:
            command = step.compensation
        assert command is not None  # noqa: S101 - it was sent before
        return command

    def _decision(self) -> Decision:
        instance = replace(self.instance, status=self.status, steps=self.steps, reason=self.reason)
        return Decision(instance, tuple(self.orders), tuple(self.stuck))
