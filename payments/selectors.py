"""What payments answers to questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import models
from django.db.models import ExpressionWrapper, F, Q, QuerySet
from django.db.models.functions import Now

from outbox import story as stories
from outbox.ledgers import Entry
from outbox.redaction import redacted
from payments.models import Mismatch, Payment, Refund, WebhookEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An entry of a ledger beside what we recorded: under its key, and, of a charge, as the order's kept charge."""

    entry: Entry
    payment: Payment | None
    refund: Refund | None
    other_charge: str = ""


def see(*, entries: Sequence[Entry]) -> list[Seen]:
    """Return each entry with our rows beside it, in order; three statements however many there are."""
    keys = [entry.key for entry in entries]
    payments = Payment.objects.in_bulk(keys)
    refunds = Refund.objects.in_bulk([entry.key for entry in entries if entry.kind == "refund"])
    strange = {order_id for entry in entries if entry.key not in payments and (order_id := _uuid(entry.order_id))}
    kept = Payment.objects.filter(order_id__in=strange, status=Payment.Status.CHARGED)
    others = {str(order_id): key for order_id, key in kept.values_list("order_id", "key")}
    return [
        Seen(
            entry=entry,
            payment=payments.get(entry.key),
            refund=refunds.get(entry.key),
            other_charge=others.get(entry.order_id, ""),
        )
        for entry in entries
    ]


def list_changed_payments(*, gateway: str, statuses: Sequence[str], since: datetime | None) -> QuerySet[Payment]:
    """Return a gateway's payments in these states that changed at this time or later; all of them if None."""
    rows = Payment.objects.filter(gateway=gateway, status__in=statuses)
    return rows if since is None else rows.filter(updated_at__gte=since)


def list_refunds_since(*, gateway: str, since: datetime | None) -> QuerySet[Refund]:
    """Return the refunds of a gateway that were recorded at this time or later; all of them if None."""
    rows = Refund.objects.filter(payment__gateway=gateway)
    return rows if since is None else rows.filter(created_at__gte=since)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def order_ids_of_reference(*, reference: str, limit: int) -> list[UUID]:
    """Return the orders of the charges and refunds that a gateway knows by this id, or by this idempotency key."""
    if not reference:
        return []
    charges = Payment.objects.filter(Q(reference=reference) | Q(key=reference)).values_list("order_id")
    refunds = Refund.objects.filter(Q(reference=reference) | Q(key=reference)).values_list("order_id")
    return [order_id for (order_id,) in charges.union(refunds)[:limit]]


def find_payment(*, key: str) -> Payment | None:
    """Return the payment with this key, if it was recorded."""
    return Payment.objects.filter(key=key).first()


def find_charged_payment(*, order_id: UUID) -> Payment | None:
    """Return the payment whose money is kept for the order, if there is one."""
    return Payment.objects.filter(order_id=order_id, status=Payment.Status.CHARGED).first()


def find_age(*, key: str) -> timedelta:
    """Return how long ago the payment with this key last changed, by the database's clock.

    Raises: DoesNotExist.
    """
    age = ExpressionWrapper(Now() - F("updated_at"), output_field=models.DurationField())
    found: timedelta = Payment.objects.annotate(age=age).values_list("age", flat=True).get(key=key)
    return found


def story(*, order_id: UUID) -> list[stories.Entry]:
    """Return what the rows of payments tell of an order: charges, refunds, webhooks, mismatches of ledgers."""
    return [
        *(entry for payment in Payment.objects.filter(order_id=order_id) for entry in _of_payment(payment)),
        *map(_of_refund, Refund.objects.filter(order_id=order_id)),
        *(entry for event in WebhookEvent.objects.filter(order_id=str(order_id)) for entry in _of_webhook(event)),
        *map(_of_mismatch, Mismatch.objects.filter(order_id=str(order_id))),
    ]


def _of_payment(payment: Payment) -> list[stories.Entry]:
    detail = {
        "status": payment.status,
        "amount": payment.amount,
        "currency": payment.currency,
        "gateway": payment.gateway,
        "reference": payment.reference,
        "code": payment.code,
        "key": payment.key,
    }
    if payment.updated_at == payment.created_at:
        return [stories.Entry(at=payment.created_at, what=f"charge recorded: {payment.status}", detail=detail)]
    return [
        stories.Entry(at=payment.created_at, what="charge first recorded", detail={"key": payment.key}),
        stories.Entry(at=payment.updated_at, what=f"charge is {payment.status} now", detail=detail),
    ]


def _of_refund(refund: Refund) -> stories.Entry:
    detail = {
        "amount": refund.amount,
        "currency": refund.currency,
        "reference": refund.reference,
        "key": refund.key,
        "charge_key": refund.payment_id,
    }
    return stories.Entry(at=refund.created_at, what="refund recorded", detail=detail)


def _of_webhook(event: WebhookEvent) -> list[stories.Entry]:
    detail = {
        "gateway": event.gateway,
        "event_id": event.event_id,
        "status": event.status,
        "amount": event.amount,
        "currency": event.currency,
        "occurred_at": event.occurred_at,
        "key": event.key,
        "payload": redacted(event.payload),
    }
    came = stories.Entry(at=event.received_at, what=f"webhook received: {event.type}", detail=detail)
    if event.settled_at is None:
        return [came]
    settled = {"gateway": event.gateway, "event_id": event.event_id, "key": event.key}
    return [came, stories.Entry(at=event.settled_at, what=f"webhook {event.status}: {event.type}", detail=settled)]


def _of_mismatch(mismatch: Mismatch) -> stories.Entry:
    detail = {"finding": mismatch.finding, "detail": mismatch.detail, "key": mismatch.key}
    return stories.Entry(at=mismatch.found_at, what=f"the bank's ledger disagrees: {mismatch.finding}", detail=detail)
