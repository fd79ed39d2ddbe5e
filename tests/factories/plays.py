"""One order's sagas, played by hand: what the engine asks for is read, what the contexts answer is said by the test."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now
from uuid_utils.compat import uuid7

from inventory.contracts import InventoryReleased, InventoryReserved
from orders.contracts import Address, Line, OrderConfirmed, OrderCreated, OrderReturnRequested
from outbox.consumers import CONSUMERS
from outbox.contracts import ACTION, COMPENSATION, Direction, Event
from outbox.joined import deliver
from outbox.models import Message as Logged
from outbox.publishing import Outgoing, publish
from payments.contracts import PaymentCharged, PaymentRefunded
from sagas.models import Case, SagaInstance
from shipping.contracts import ShipmentCancelled, ShipmentCreated

ADDRESS = Address(name="Ada", line1="1 Main St", city="Berlin", postal_code="10115", country="DE")


class Play:
    """An order whose contexts are played by the test. Nothing but the engine runs."""

    def __init__(self) -> None:
        self.order_id = uuid7()

    # --- what happens ---

    def begin(self) -> Play:
        """Let the order be placed."""
        return self.hear(self.created())

    def created(self) -> OrderCreated:
        """Return the event that starts the fulfilment."""
        return OrderCreated(
            order_id=self.order_id,
            customer_id=7,
            lines=(Line(sku="MUG", quantity=1),),
            amount=1250,
            currency="EUR",
            payment_method="pm_card_visa",
            address=ADDRESS,
        )

    def return_requested(self) -> OrderReturnRequested:
        """Return the event that starts the return."""
        return OrderReturnRequested(order_id=self.order_id, amount=1250, currency="EUR")

    def say(self, event: Event, *, step: str | None = None, direction: Direction | None = None, saga: str = "") -> UUID:
        """Publish an event of this order; with a step it answers that step's command."""
        running = self.saga(saga) if step else None
        with transaction.atomic():
            [message_id] = publish(
                [
                    Outgoing(
                        data=event,
                        source="test",
                        subject=self.order_id,
                        correlation_id=running.pk if running else None,
                        step=step,
                        direction=(direction or ACTION) if step else None,
                    )
                ]
            )
        return message_id

    def hear(self, event: Event, **about: Any) -> Play:
        """Publish an event, and let the engine hear it."""
        self.say(event, **about)
        run_engine()
        return self

    def reserved(self) -> Play:
        """Let the goods be held."""
        return self.hear(InventoryReserved(order_id=self.order_id), step="reserve-inventory")

    def charged(self) -> Play:
        """Let the money be taken."""
        return self.hear(self.charge(), step="charge-payment")

    def charge(self) -> PaymentCharged:
        """Return the answer of payments."""
        return PaymentCharged(order_id=self.order_id, amount=1250, currency="EUR", reference="ch_1")

    def shipped(self) -> Play:
        """Let the parcel go."""
        return self.hear(ShipmentCreated(order_id=self.order_id, tracking="T1"), step="create-shipment")

    def confirmed(self) -> Play:
        """Let the order be confirmed."""
        return self.hear(OrderConfirmed(order_id=self.order_id, customer_id=7), step="confirm-order")

    def undone(self, step: str) -> Play:
        """Let a compensation succeed."""
        answers: dict[str, Event] = {
            "reserve-inventory": InventoryReleased(order_id=self.order_id),
            "charge-payment": PaymentRefunded(order_id=self.order_id, amount=1250, currency="EUR"),
            "create-shipment": ShipmentCancelled(order_id=self.order_id),
        }
        return self.hear(answers[step.partition("~")[0]], step=step, direction=COMPENSATION)

    def overdue(self) -> Play:
        """Let the deadline of whatever is in flight be over."""
        saga = self.saga()
        steps = {name: {**state} for name, state in saga.steps.items()}
        for state in steps.values():
            if "started_at" in state:
                state["started_at"] = "2026-01-01T00:00:00+00:00"
        SagaInstance.objects.filter(pk=saga.pk).update(steps=steps, due_at=Now())
        return self

    # --- what is so ---

    def saga(self, name: str = "") -> SagaInstance:
        """Return the saga of that name, as it stands."""
        return SagaInstance.objects.get(key=self.order_id, name=name or "order-fulfilment")

    @property
    def status(self) -> tuple[str, str]:
        """Status and reason of the fulfilment."""
        saga = self.saga()
        return saga.status, saga.reason

    @property
    def steps(self) -> dict[str, str]:
        """The status of each step that has begun."""
        steps = self.saga().steps
        return {name: state["status"] for name, state in steps.items() if "status" in state}

    @property
    def commands(self) -> list[tuple[str, str, str]]:
        """What the engine asked for, in order: type, step, direction."""
        said = Logged.objects.filter(ordering_key=self.order_id, kind="command").order_by("sequence")
        return [(m.type, m.headers["step"], m.headers["direction"]) for m in said]

    @property
    def cases(self) -> list[Case]:
        """The files about this order, in order."""
        return list(Case.objects.filter(key=self.order_id).order_by("id"))

    def command(self, wire_type: str) -> Logged:
        """Return the last command of a type."""
        found = Logged.objects.filter(ordering_key=self.order_id, type=wire_type).order_by("sequence").last()
        assert found is not None
        return found


def run_engine() -> int:
    """Let the engine hear all that is due for it."""
    consumer = CONSUMERS["sagas"]
    types = [kind.wire_type for kind in consumer.handlers]
    total = 0
    while heard := deliver(consumer=consumer, lane="relay", types=types, limit=500):
        total += heard
    return total
