"""What payments answers to questions."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.db import models
from django.db.models import ExpressionWrapper, F
from django.db.models.functions import Now

from payments.models import Payment


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
