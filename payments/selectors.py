"""What payments answers to questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import models
from django.db.models import ExpressionWrapper, F, QuerySet
from django.db.models.functions import Now

from outbox.ledgers import Entry
from payments.models import Payment, Refund


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
