"""Cases on the desk, brought about by the engine itself: a refund that the bank refuses, an event nobody takes."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from uuid_utils.compat import uuid7

from inventory.contracts import InventoryReserved
from orders.contracts import Address, Line, OrderConfirmed, OrderCreated
from outbox.contracts import ACTION, COMPENSATION, Direction, Envelope, Event, MessageDeadLettered
from outbox.models import Attempt, Delivery, Message
from payments.contracts import PaymentCharged, PaymentRefunded
from sagas.handlers import handle
from sagas.models import Case, SagaInstance
from shipping.contracts import ShipmentCreated, ShipmentFailed
from tests.factories.envelopes import envelope
from tests.messaging import execute, say

REFUSAL = "refund_refused: the bank refuses to refund this charge"
STREET = "12 Baker Street"
CARD = "pm_secret_card"


def running_saga() -> SagaInstance:
    """Begin the saga of a new order: its first command is out."""
    order_id = uuid7()
    created = OrderCreated(
        order_id=order_id,
        customer_id=1,
        lines=(Line(sku="TEA", quantity=2),),
        amount=1250,
        currency="EUR",
        payment_method=CARD,
        address=Address(name="Ada", line1=STREET, city="London", postal_code="NW1", country="GB"),
    )
    say(created, key=order_id)
    _tell(envelope(created))
    return SagaInstance.objects.get(key=order_id)


def completed_saga() -> SagaInstance:
    """Bring a saga to its good end."""
    saga = _paid()
    _reply(saga, ShipmentCreated(order_id=saga.key, tracking="T1"), "create-shipment")
    _reply(saga, OrderConfirmed(order_id=saga.key, customer_id=1), "confirm-order")
    saga.refresh_from_db()
    return saga


def refused_refund() -> Case:
    """Turn a saga back until the refund of its charge is dead: step and saga are stuck."""
    saga = _paid()
    _reply(saga, ShipmentFailed(order_id=saga.key, reason="shipping_refused"), "create-shipment")
    refund = Message.objects.get(ordering_key=saga.key, type="payment.refund")
    dead = _kill(refund, destination="payments", error_class="RefundRefused", error=REFUSAL)
    _reply(saga, dead, "charge-payment", COMPENSATION)
    return Case.objects.select_related("saga").get(saga=saga)


def refused_event() -> Case:
    """Let notifications fail for good on an event that no saga waits for."""
    order_id = uuid7()
    (message_id,) = say(OrderConfirmed(order_id=order_id, customer_id=1), key=order_id)
    message = Message.objects.get(pk=message_id)
    dead = _kill(message, destination="notifications", error_class="KeyError", error="'name'")
    _tell(envelope(dead, subject=order_id))
    return Case.objects.get(key=order_id)


def deliveries_of(case: Case) -> QuerySet[Delivery]:
    """Return the deliveries of the message behind a case."""
    assert case.message_id is not None
    return Delivery.objects.filter(message_id=case.message_id).order_by("destination")


def is_dead(case: Case) -> list[bool]:
    """Return for each delivery of the message behind a case whether it is dead."""
    return [at is not None for at in deliveries_of(case).values_list("dead_at", flat=True)]


def _paid() -> SagaInstance:
    saga = running_saga()
    _reply(saga, InventoryReserved(order_id=saga.key), "reserve-inventory")
    charged = PaymentCharged(order_id=saga.key, amount=1250, currency="EUR", reference="ch_1")
    _reply(saga, charged, "charge-payment")
    return saga


def _reply(saga: SagaInstance, event: Event, step: str, direction: Direction = ACTION) -> None:
    _tell(envelope(event, subject=saga.key, saga_id=saga.pk, step=step, direction=direction))


def _tell(event: Envelope[Any]) -> None:
    with transaction.atomic():
        handle([event])


def _kill(message: Message, *, destination: str, error_class: str, error: str) -> MessageDeadLettered:
    execute(
        "UPDATE outbox_delivery SET dead_at = now(), available_at = '9999-01-01 00:00+00', attempts = 5,"
        " error_class = %s, error = %s, fingerprint = 'f1' WHERE message_id = %s AND destination = %s",
        error_class,
        error,
        message.pk,
        destination,
    )
    Attempt.objects.create(
        message_id=message.pk,
        ordering_key=message.ordering_key,
        destination=destination,
        type=message.type,
        attempt=5,
        decision=Attempt.Decision.DEAD,
        error_class=error_class,
        error=error,
        fingerprint="f1",
    )
    return MessageDeadLettered(
        message_id=message.pk,
        message_type=message.type,
        message_kind="command" if message.kind == "command" else "event",
        destination=destination,
        attempts=5,
        error_class=error_class,
        error=error,
        fingerprint="f1",
    )


def kill(message: Message, destination: str) -> None:
    """Let the attempts of a message be spent."""
    _kill(message, destination=destination, error_class="RefundRefused", error="refused for good")


def refund_at_last(case: Case) -> None:
    """Let the refund of a retried case succeed: the bank takes it now."""
    assert case.saga is not None
    deliveries_of(case).delete()
    refunded = PaymentRefunded(order_id=case.key, amount=1250, currency="EUR", reference="re_1")
    _reply(case.saga, refunded, "charge-payment", COMPENSATION)


def refuse_once_more(case: Case) -> Case:
    """Let the refund of a retried case be refused again; return the new case."""
    assert case.saga is not None
    assert case.message_id is not None
    refund = Message.objects.get(pk=case.message_id)
    dead = _kill(refund, destination="payments", error_class="RefundRefused", error=REFUSAL)
    _reply(case.saga, dead, "charge-payment", COMPENSATION)
    return Case.objects.select_related("saga").filter(saga=case.saga).latest("pk")
