"""What shipping answers to questions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db import models
from django.db.models import ExpressionWrapper, F, QuerySet
from django.db.models.functions import Now

from outbox.story import Entry
from shipping.models import Mismatch, Shipment


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


def story(*, order_id: UUID) -> list[Entry]:
    """Return what the rows of shipping tell of an order: parcels, and what the carrier's ledger disagrees about.

    Where a parcel goes is about a person, and is not told.
    """
    return [
        *(entry for shipment in Shipment.objects.filter(order_id=order_id) for entry in _of_shipment(shipment)),
        *map(_of_mismatch, Mismatch.objects.filter(order_id=str(order_id))),
    ]


def _of_shipment(shipment: Shipment) -> list[Entry]:
    detail = {
        "status": shipment.status,
        "carrier": shipment.carrier,
        "tracking": shipment.tracking,
        "code": shipment.code,
        "key": shipment.key,
    }
    if shipment.updated_at == shipment.created_at:
        return [Entry(at=shipment.created_at, what=f"parcel recorded: {shipment.status}", detail=detail)]
    return [
        Entry(at=shipment.created_at, what="parcel first recorded", detail={"key": shipment.key}),
        Entry(at=shipment.updated_at, what=f"parcel is {shipment.status} now", detail=detail),
    ]


def _of_mismatch(mismatch: Mismatch) -> Entry:
    detail = {"finding": mismatch.finding, "detail": mismatch.detail, "key": mismatch.key}
    return Entry(at=mismatch.found_at, what=f"the carrier's ledger disagrees: {mismatch.finding}", detail=detail)
