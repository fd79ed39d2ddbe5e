"""A saga that charges at its point of no return, so that a charge can be stuck; with a real bank to see what it did."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now
from uuid_utils.compat import uuid7

import orders.contracts as orders
import payments.contracts as payments
import shipping.contracts as shipping
from outbox.models import Delivery, Lane, Message
from sagas import engine
from sagas.definition import SagaDefinition, Step
from sagas.definitions.order_fulfilment import OrderFulfilmentData
from sagas.instances import Changes, Loaded, database_now, insert
from sagas.models import Case, SagaInstance
from tests.factories.plays import ADDRESS
from tests.messaging import drain, make_due


class LateOrder(orders.OrderCreated, frozen=True, kw_only=True):
    """An order that no other saga begins with."""

    wire_type: ClassVar[str] = "test.late_order"


LATE_CHARGE = SagaDefinition(
    name="late-charge",
    version=1,
    data=OrderFulfilmentData,
    started_by=LateOrder,
    steps=(
        Step("charge-payment", action=payments.ChargePayment, pivot=True),
        Step("create-shipment", action=shipping.CreateShipment),
    ),
)
# Here a charge that was declined is stuck too: it comes after the point of no return.
CHARGE_LAST = SagaDefinition(
    name="charge-last",
    version=1,
    data=OrderFulfilmentData,
    started_by=LateOrder,
    steps=(
        Step("create-shipment", action=shipping.CreateShipment, pivot=True),
        Step("charge-payment", action=payments.ChargePayment),
    ),
)
# More than the attempts that any handler has.
_MOST_TRIES = 6


def order_created(order_id: UUID, *, method: str) -> orders.OrderCreated:
    """Return an order of 12.50 EUR."""
    return orders.OrderCreated(
        order_id=order_id,
        customer_id=7,
        lines=(orders.Line(sku="MUG", quantity=1),),
        amount=1250,
        currency="EUR",
        payment_method=method,
        address=ADDRESS,
    )


def begin(*, method: str, definition: SagaDefinition = LATE_CHARGE) -> SagaInstance:
    """Begin the saga of a new order: its first command is on its way."""
    order_id, saga_id = uuid7(), uuid7()
    with transaction.atomic():
        changes = Changes(database_now())
        created = order_created(order_id, method=method)
        decision = engine.start(definition, saga_id=saga_id, key=order_id, event=created, now=changes.now)
        loaded = Loaded(definition, decision.instance, "", changes.now, decision.instance, new=True)
        insert([loaded])
        changes.apply(loaded, decision, cause=None)
        changes.write()
    return SagaInstance.objects.get(pk=saga_id)


def go_on() -> None:
    """Let everything that is on its way be tried until it is done, or its attempts are spent."""
    for _ in range(_MOST_TRIES):
        drain(Lane.EFFECTS)
        drain(Lane.RELAY)
        make_due()


def stuck(*, method: str = "") -> Case:
    """Let a charge die: with no payment method at all the bank does not understand it."""
    saga = begin(method=method)
    go_on()
    case = Case.objects.select_related("saga").get(saga=saga)
    long_ago(case)
    return case


def declined() -> Case:
    """Let a charge be declined for good, a while ago."""
    saga = begin(method="pm_card_visa_chargeDeclined", definition=CHARGE_LAST)
    go_on()
    saga.refresh_from_db()
    saga.steps["charge-payment"]["ended_at"] = "2026-01-01T00:00:00+00:00"
    SagaInstance.objects.filter(pk=saga.pk).update(steps=saga.steps)
    return Case.objects.select_related("saga").get(saga=saga)


def long_ago(case: Case) -> None:
    """Let whatever was sent be lost by now, as far as anybody can tell."""
    dead = Delivery.objects.filter(ordering_key=case.key, dead_at__isnull=False)
    dead.update(dead_at=Now() - timedelta(hours=1))


def command_of(case: Case) -> Message:
    """Return the message of a case."""
    assert case.message_id is not None
    return Message.objects.get(pk=case.message_id)


def saga_of(case: Case) -> SagaInstance:
    """Return the saga of a case as it stands."""
    assert case.saga_id is not None
    return SagaInstance.objects.get(pk=case.saga_id)


def key_of(case: Case, step: str = "charge-payment") -> str:
    """Return the key that the bank knows the charge by."""
    return f"{case.key}-{case.saga_id}-{step}"


def edited(case: Case, **changes: Any) -> dict[str, Any]:
    """Return the payload of a case with some fields changed."""
    return {**command_of(case).payload, **changes}
