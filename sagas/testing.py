"""A language for the stories of a saga, so that a team can test its definitions without a database.

A story says what the saga sends and what comes back, in order; every command must be expected before it goes
on. It runs on the engine alone, within a millisecond, and when it breaks it shows the story so far:

    given(ORDER_FULFILMENT).started_by(sample(OrderCreated)) \\
        .expect(ReserveInventory).answer(sample(InventoryReserved)) \\
        .expect(ChargePayment).answer(sample(PaymentFailed, reason="payment_declined")) \\
        .expect_compensation(ReleaseInventory).answer(sample(InventoryReleased)) \\
        .expect(CancelOrder).answer(sample(OrderCancelled)) \\
        .expect_ended("COMPENSATED", reason="payment_declined")
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Self, TypeVar
from uuid import UUID

import msgspec

from outbox.contracts import ACTION, COMPENSATION, Command, Direction, Event, Message
from sagas.definition import SagaDefinition
from sagas.engine import Decision, Order, Refused, decide, due_at, start
from sagas.inputs import CancelRequested, DeadLettered, DeadlinePassed, Input, Wish, reply
from sagas.states import IN_FLIGHT, Instance, SagaStatus, StepStatus, wire_step

SAGA_ID = UUID(int=1)
ORDER_ID = UUID(int=2)
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
# Between two inputs; no deadline is that short.
TICK = timedelta(milliseconds=1)

MessageT = TypeVar("MessageT", bound=Message)


class StoryBroken(AssertionError):
    """The saga does not do what the story says; the text shows both and the story so far."""


@dataclass(slots=True, eq=False)
class Sent:
    """A command that the saga sent; `expected` says that the story knows of it."""

    order: Order
    expected: bool = False

    def __str__(self) -> str:
        what = "compensation of " if self.order.direction == COMPENSATION else ""
        return f"{type(self.order.command).__name__} ({what}{self.order.step})"


def given(definition: SagaDefinition) -> Story:
    """Open a story about a saga that has yet to start."""
    return Story(definition)


class Story:
    """One run of a saga, told step by step. Every method but the properties returns the story itself."""

    def __init__(self, definition: SagaDefinition) -> None:
        self._definition = definition
        self._instance: Instance | None = None
        self._now = BEGIN
        self._sent: list[Sent] = []
        self._told: list[str] = []

    @property
    def instance(self) -> Instance:
        """The saga as it stands."""
        if self._instance is None:
            raise self._broken("the saga has not started; say `started_by(event)` first")
        return self._instance

    @property
    def sent(self) -> list[Sent]:
        """All commands sent so far, in order."""
        return list(self._sent)

    # --- what happens ---

    def started_by(self, event: Event) -> Self:
        """Start the saga. Fails when its definition starts with another event."""
        if type(event) is not self._definition.started_by:
            expected = self._definition.started_by.__name__
            raise self._broken(f"{self._definition.name} starts with {expected}, not with {type(event).__name__}")
        self._tell(f"{type(event).__name__} starts {self._definition.name}")
        decision = start(self._definition, saga_id=SAGA_ID, key=ORDER_ID, event=event, now=self._now)
        return self._take_over(decision)

    def answer(self, event: Event, *, to: type[Command] | None = None, step: str | None = None) -> Self:
        """Let a command's event of success or failure arrive.

        It answers the command that the saga waits for; when it waits for none, a duplicate or late event
        arrives. Where several could be meant, say which: `to` is its type, `step` its name on the wire.
        """

        def fits(sent: Sent) -> bool:
            return type(event) in (sent.order.command.success, sent.order.command.failure)

        return self._arrive(self._find(fits, to, step, f"{type(event).__name__} answers"), event)

    def dead_letter(
        self, *, to: type[Command] | None = None, step: str | None = None, error: str = "RuntimeError: broken"
    ) -> Self:
        """Let the attempts of a command be spent: nobody knows whether it was carried out."""
        sent = self._find(lambda _: True, to, step, "a dead letter answers")
        return self._happen(DeadLettered(sent.order.step, sent.order.direction, error), f"dead letter: {sent}")

    def cancel(self, reason: str) -> Self:
        """Let someone want the saga undone."""
        return self._happen(CancelRequested(reason), f"cancelled: {reason}")

    def deadline_passes(self, *held_up: str, patience: timedelta = timedelta(hours=1)) -> Self:
        """Let time pass until the next deadline is missed. Fails when no step is in flight.

        An outage holds up the steps named: they get more time, until patience is over.
        """
        due = due_at(self._definition, self.instance)
        if due is None:
            raise self._broken("no deadline can pass: no step is in flight")
        self._now = max(self._now, due)
        line = f"a deadline passes while an outage holds up {', '.join(held_up)}" if held_up else "a deadline passes"
        return self._happen(DeadlinePassed(frozenset(held_up), patience), line)

    def operator(self, wish: Wish) -> Self:
        """Let an operator act on the stuck steps. Fails when the saga refuses."""
        try:
            return self._happen(wish, f"operator: {type(wish).__name__}")
        except Refused as refusal:
            text = f"the operator's {type(wish).__name__} was refused: {refusal}"
            raise self._broken(text) from refusal

    def reach(self, step: str) -> Self:
        """Skip what is not the point of this story: let everything succeed until the step's command is sent.

        That command is expected then and waits for its answer, as do those sent side by side with it.
        """
        while not any(sent.order.step == step for sent in self._in_flight()):
            if not self._in_flight():
                raise self._broken(f"step {step!r} is never reached")
            self._succeed()
        return self.expect_anything()

    def settle(self) -> Self:
        """Let all that was sent succeed, and all that follows, until no step is in flight."""
        while self._in_flight():
            self._succeed()
        return self

    # --- what must be so ---

    def expect(self, command: type[Command] | Command, *, step: str | None = None) -> Self:
        """Fail unless this command was sent: of this type, or exactly this one.

        `step` is its name on the wire.
        """
        return self._expect(command, ACTION, step)

    def expect_compensation(self, command: type[Command] | Command, *, step: str | None = None) -> Self:
        """Fail unless this command was sent to undo a step."""
        return self._expect(command, COMPENSATION, step)

    def expect_anything(self) -> Self:
        """Accept whatever else was sent: it is not the point of this story."""
        for sent in self._unread():
            sent.expected = True
            self._tell(f"→ {sent}")
        return self

    def expect_nothing(self) -> Self:
        """Fail if the saga sent anything that the story has not expected yet."""
        if unread := self._unread():
            raise self._broken(f"expected nothing, but the saga sent {_list(unread)}")
        return self

    def expect_stuck(self, *steps: str) -> Self:
        """Fail unless exactly these steps are stuck and the saga waits for a person."""
        self.expect_nothing()
        stuck = {name for name, state in self.instance.steps.items() if state.status is StepStatus.STUCK}
        if stuck != set(steps) or self.instance.status is not SagaStatus.SUSPENDED:
            raise self._broken(f"expected {sorted(steps)} to be stuck, but it is {sorted(stuck)}")
        return self

    def expect_step(self, step: str, status: StepStatus | str) -> Self:
        """Fail unless the step has this status."""
        actual = self.instance.steps[step].status
        if actual != StepStatus(status):
            raise self._broken(f"expected step {step!r} to be {status}, but it is {actual}")
        return self

    def expect_refused(self, wish: Wish, why: str) -> Self:
        """Fail unless the saga refuses this operator's wish, for a reason that contains `why`."""
        try:
            decide(self._definition, self.instance, wish, self._now)
        except Refused as refusal:
            if why not in str(refusal):
                wanted = f"expected {type(wish).__name__} to be refused with {why!r}"
                raise self._broken(f"{wanted}, but it was: {refusal}") from refusal
            return self
        raise self._broken(f"expected {type(wish).__name__} to be refused, but it was accepted")

    def expect_ended(self, status: SagaStatus | str, *, reason: str | None = None) -> Self:
        """Fail unless the saga has ended so, with nothing more to send; for this reason, if one is given."""
        self.expect_nothing()
        if self.instance.status != SagaStatus(status):
            raise self._broken(f"expected the saga to end {status}, but it is {self.instance.status}")
        if reason is not None and self.instance.reason != reason:
            raise self._broken(f"expected reason {reason!r}, but it is {self.instance.reason!r}")
        return self

    # --- how it is told ---

    def _expect(self, command: type[Command] | Command, direction: Direction, step: str | None) -> Self:
        unread = self._unread()
        for sent in unread:
            order = sent.order
            same = order.command == command if isinstance(command, Command) else type(order.command) is command
            if same and order.direction == direction and step in (None, order.step):
                sent.expected = True
                self._tell(f"→ {sent}")
                return self
        wanted = repr(command) if isinstance(command, Command) else command.__name__
        where = f" for step {step!r}" if step else ""
        raise self._broken(f"expected {direction} {wanted}{where}, but the saga sent {_list(unread) or 'nothing'}")

    def _find(self, fits: Callable[[Sent], bool], to: type[Command] | None, step: str | None, what: str) -> Sent:
        known = [
            sent
            for sent in self._sent
            if sent.expected
            and fits(sent)
            and to in (None, type(sent.order.command))
            and step in (None, sent.order.step)
        ]
        if not known:
            raise self._broken(f"{what} no command that was expected")
        waiting = [sent for sent in self._in_flight() if sent in known]
        if len(waiting) > 1:
            raise self._broken(f"{what} one of {_list(waiting)}; say which with to=… or step=…")
        return (waiting or known)[-1]

    def _in_flight(self) -> list[Sent]:
        flying = {
            (wire_step(name, state), state.direction)
            for name, state in self.instance.steps.items()
            if state.status in IN_FLIGHT
        }
        return [sent for sent in self._sent if (sent.order.step, sent.order.direction) in flying]

    def _succeed(self) -> None:
        self.expect_anything()
        first = self._in_flight()[0]
        self._arrive(first, sample(first.order.command.success))

    def _arrive(self, sent: Sent, event: Event) -> Self:
        arrived = reply(event, step=sent.order.step, direction=sent.order.direction)
        return self._happen(arrived, f"← {type(event).__name__} ({sent.order.step})")

    def _happen(self, event: Input, line: str) -> Self:
        if unread := self._unread():
            raise self._broken(f"{line!r} comes before the story expects {_list(unread)}")
        self._now += TICK
        decision = decide(self._definition, self.instance, event, self._now)
        self._tell(f"{line}{'  [ignored]' if decision.ignored else ''}")
        return self._take_over(decision)

    def _take_over(self, decision: Decision) -> Self:
        self._instance = decision.instance
        self._sent += [Sent(order) for order in decision.orders]
        return self

    def _unread(self) -> list[Sent]:
        return [sent for sent in self._sent if not sent.expected]

    def _tell(self, line: str) -> None:
        self._told.append(line)

    def _broken(self, why: str) -> StoryBroken:
        lines = [why, "", "the story so far:", *(f"  {line}" for line in self._told)]
        if self._instance is not None:
            lines.append(f"  the saga is {self._instance.status} {self._instance.reason}".rstrip())
            lines += [f"    {name}: {state.status}" for name, state in self._instance.steps.items()]
        return StoryBroken("\n".join(lines))


def sample(message: type[MessageT], **fields: Any) -> MessageT:
    """Return a message that says nothing in particular, apart from the fields given."""
    required = {f.name: _value(f.name, f.type) for f in _fields(message) if f.required}
    return msgspec.convert({**required, **msgspec.to_builtins(fields)}, message)


@cache
def _fields(struct: type[msgspec.Struct]) -> tuple[msgspec.inspect.Field, ...]:
    info = msgspec.inspect.type_info(struct)
    assert isinstance(info, msgspec.inspect.StructType)  # noqa: S101 - the type of a struct
    return info.fields


def _value(name: str, kind: msgspec.inspect.Type) -> Any:
    match kind:
        case msgspec.inspect.StructType(fields=fields):
            return {f.name: _value(f.name, f.type) for f in fields if f.required}
        case msgspec.inspect.VarTupleType(item_type=item) | msgspec.inspect.ListType(item_type=item):
            return [_value(name, item)]
        case msgspec.inspect.UnionType(types=types):
            return _value(name, types[0])
        case msgspec.inspect.LiteralType(values=values):
            return values[0]
        case msgspec.inspect.UUIDType():
            return str(ORDER_ID)
        case msgspec.inspect.DateTimeType():
            return BEGIN.isoformat()
        case msgspec.inspect.BoolType():
            return True
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType() | msgspec.inspect.DecimalType():
            return 1
        case msgspec.inspect.DictType():
            return {}
        case _:
            return name


def _list(sent: list[Sent]) -> str:
    return ", ".join(str(one) for one in sent)
