"""What shipping answers to questions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db import models
from django.db.models import ExpressionWrapper, F, QuerySet
from django.db.models.functions import Now

from shipping.models import Shipment


def find_shipment(*, key: str) -> Shipment | None:
    """Return the shipment with this key, if it was recorded."""
    return Shipment.objects.filter(key=key).first()


def find_live_shipment(*, order_id: UUID) -> Shipment | None:
    """Return the order's parcel that is on its way, if there is one."""
    return Shipment.objects.filter(order_id=order_id, status=Shipment.Status.CREATED).first()


def find_age(*, key: str) -> timedelta:
    """Return how long ago the shipment with this key last changed, by the database's clock.

    Raises: DoesNotExist.
    """
    age = ExpressionWrapper(Now() - F("updated_at"), output_field=models.DurationField())
    found: timedelta = Shipment.objects.annotate(age=age).values_list("age", flat=True).get(key=key)
    return found


def list_shipments(*, keys: Sequence[str]) -> dict[str, Shipment]:
    """Return the recorded parcels with these keys."""
    return Shipment.objects.in_bulk(keys)


def list_changed_live(*, carrier: str, since: datetime | None) -> QuerySet[Shipment]:
    """Return a carrier's parcels on their way that changed at this time or later; all of them if None."""
    rows = Shipment.objects.filter(carrier=carrier, status=Shipment.Status.CREATED)
    return rows if since is None else rows.filter(updated_at__gte=since)
