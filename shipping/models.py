"""The table of shipping. Its primary key is the idempotency key that the carrier was called with."""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from outbox import ledgers


class Shipment(models.Model):
    """One parcel as the carrier answered it.

    An order has at most one live parcel: the database refuses a second.
    """

    class Status(models.TextChoices):
        """What became of the parcel."""

        CREATED = "created"
        REFUSED = "refused"
        UNKNOWN = "unknown"
        CANCELLED = "cancelled"

    key = models.CharField(primary_key=True, max_length=255)
    order_id = models.UUIDField(db_index=True)
    status = models.CharField(max_length=9, choices=Status.choices)
    carrier = models.CharField(max_length=32)
    tracking = models.CharField(max_length=64, db_default="")
    code = models.CharField(max_length=64, db_default="")
    address: models.JSONField[Any, Any] = models.JSONField()
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = (
            models.UniqueConstraint(
                name="shipping_shipment_one_live_per_order",
                fields=("order_id",),
                condition=Q(status="created"),
            ),
            models.CheckConstraint(
                name="shipping_shipment_live_has_tracking", condition=~Q(status="created", tracking="")
            ),
        )
        # For the sweep that looks for what changed lately; it keeps updates within their page, unlike a B-tree.
        indexes = (BrinIndex(fields=("updated_at",), name="shipping_shipment_changed", autosummarize=True),)

    def __str__(self) -> str:
        return f"{self.key} {self.status}"


class LedgerMark(ledgers.LedgerMark):
    """How far the ledgers of the carriers have been compared."""


class Sighting(ledgers.Sighting):
    """A parcel at a carrier that our rows did not explain at first."""


class Mismatch(ledgers.Mismatch):
    """What a person was told about a carrier's ledger."""
