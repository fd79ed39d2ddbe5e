"""What an action sets going: the calls that go out at once, and those that follow when each of them succeeds.

The engine is a pure function, so that it can be asked what would be without anything being done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from outbox.contracts import ACTION, Command
from outbox.inquiries import Call, handler_of
from outbox.money import to_text
from payments.contracts import ChargePayment, RefundPayment
from sagas import engine
from sagas.definition import CLOSE, SagaDefinition
from sagas.engine import Decision, Order
from sagas.inputs import Succeeded
from sagas.states import IN_FLIGHT, Instance, SagaStatus, StepState, wire_step
from shipping.contracts import CancelShipment, CreateShipment

# What a gateway is asked to do by a command, in the words of its own protocol, and how the money goes.
_OPERATIONS: dict[type[Command], str] = {
    ChargePayment: "charge",
    RefundPayment: "refund",
    CreateShipment: "create a shipment",
    CancelShipment: "cancel the shipment",
}
_MONEY: dict[type[Command], str] = {
    ChargePayment: "charge {} from the customer",
    RefundPayment: "refund {} to the customer",
}
# No story is longer; a definition that went in circles would be a bug, and must not hang a page.
_MOST_STEPS = 100


@dataclass(frozen=True, slots=True)
class Planned:
    """One command that goes out: at once, or `later` when all before it has succeeded.

    `is_again` says that it was sent before and goes out as it was.
    """

    call: Call
    is_again: bool = False
    later: bool = False

    @property
    def wire_type(self) -> str:
        """The name of the command on the wire."""
        return self.call.command.wire_type

    @property
    def where(self) -> str:
        """Who carries it out, and what of the outside world is called for it."""
        destination, handler = handler_of(type(self.call.command))
        if handler is None or not handler.gateway:
            return f"{destination}, nobody outside"
        return f"{destination} → {handler.gateway}: {_OPERATIONS.get(type(self.call.command), 'call')}"

    @property
    def gateway(self) -> str:
        """The gateway that it calls, if it calls one."""
        _, handler = handler_of(type(self.call.command))
        return handler.gateway if handler is not None else ""

    @property
    def money(self) -> str:
        """How much money moves and where to, in words; nothing when none does."""
        words = _MONEY.get(type(self.call.command))
        return words.format(amount_of(self.call.command)) if words else ""


def amount_of(command: Command) -> str:
    """Return the amount of a command with its currency."""
    amount, currency = getattr(command, "amount", 0), getattr(command, "currency", "")
    return f"{to_text(minor_units=amount, currency=currency)} {currency}"


def command_of(definition: SagaDefinition, step: str, direction: str) -> type[Command] | None:
    """Return the command of a step in one direction; that of the closing step for any other name."""
    declared = definition.by_name.get(step)
    if declared is None:
        return definition.on_compensated
    return declared.action if direction == ACTION else declared.compensation


def call_of(definition: SagaDefinition, instance: Instance, name: str, state: StepState) -> Call | None:
    """Return the command of a step in its direction as it went over the wire, made from the saga's data."""
    command = command_of(definition, name, state.direction)
    if command is None:
        return None
    data = {**instance.data, "reason": instance.reason} if name == CLOSE else instance.data
    return Call(
        command=msgspec.convert(data, command),
        subject=instance.key,
        saga_id=instance.id,
        step=wire_step(name, state),
        direction=state.direction,
    )


def outlook(
    definition: SagaDefinition, decision: Decision, *, again: Sequence[Call], now: datetime
) -> tuple[list[Planned], SagaStatus]:
    """Return all commands that follow from a decision when every one succeeds, and how the saga ends then.

    `again` are those that are sent as they were, which the decision does not name.
    """
    instance = decision.instance
    plan = [Planned(call, is_again=True) for call in again]
    plan += [Planned(_call(instance, order)) for order in decision.orders]
    for _ in range(_MOST_STEPS):
        flying = next(((name, state) for name, state in instance.steps.items() if state.status in IN_FLIGHT), None)
        if flying is None:
            break
        name, state = flying
        step = engine.decide(definition, instance, Succeeded(wire_step(name, state), state.direction), now)
        instance = step.instance
        plan += [Planned(_call(instance, order), later=True) for order in step.orders]
    return plan, instance.status


def _call(instance: Instance, order: Order) -> Call:
    return Call(
        command=order.command,
        subject=instance.key,
        saga_id=instance.id,
        step=order.step,
        direction=order.direction,
    )
