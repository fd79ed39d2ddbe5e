"""The tables of payments. The primary keys are the idempotency keys the gateway was called with.

So a row and the gateway's own entry name each other, and a second record of the same call finds the first
one.
"""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from outbox import ledgers
from outbox.ledgers import KEY_LENGTH


class Payment(models.Model):
    """One charge as the gateway answered it; `amount` in minor units.

    An order has at most one charge whose money is kept: a second one is refused by the database.
    """

    class Status(models.TextChoices):
        """What became of the money."""

        CHARGED = "charged"
        DECLINED = "declined"
        UNKNOWN = "unknown"
        VOID = "void"
        REFUNDED = "refunded"

    key = models.CharField(primary_key=True, max_length=KEY_LENGTH)
    order_id = models.UUIDField(db_index=True)
    amount = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    status = models.CharField(max_length=8, choices=Status.choices)
    gateway = models.CharField(max_length=32)
    reference = models.CharField(max_length=255, db_default="")
    code = models.CharField(max_length=64, db_default="")
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = (
            models.UniqueConstraint(
                name="payments_payment_one_charge_per_order",
                fields=("order_id",),
                condition=Q(status="charged"),
            ),
            models.CheckConstraint(name="payments_payment_amount_positive", condition=Q(amount__gt=0)),
            models.CheckConstraint(name="payments_payment_currency_code", condition=Q(currency__regex="^[A-Z]{3}$")),
            models.CheckConstraint(
                name="payments_payment_charge_has_reference", condition=~Q(status="charged", reference="")
            ),
        )
        # For the sweep that looks for what changed lately; it keeps updates within their page, unlike a B-tree.
        indexes = (
            BrinIndex(fields=("updated_at",), name="payments_payment_changed", autosummarize=True),
            models.Index(fields=("reference",), name="payments_payment_reference", condition=~Q(reference="")),
        )

    def __str__(self) -> str:
        return f"{self.key} {self.status}"


class Refund(models.Model):
    """Money that the gateway gave back, all of one charge; `amount` in minor units."""

    key = models.CharField(primary_key=True, max_length=KEY_LENGTH)
    payment = models.OneToOneField(Payment, db_column="charge_key", on_delete=models.PROTECT)
    order_id = models.UUIDField(db_index=True)
    amount = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    reference = models.CharField(max_length=255)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = (
            models.CheckConstraint(name="payments_refund_amount_positive", condition=Q(amount__gt=0)),
            models.CheckConstraint(name="payments_refund_currency_code", condition=Q(currency__regex="^[A-Z]{3}$")),
        )
        indexes = (
            BrinIndex(fields=("created_at",), name="payments_refund_made", autosummarize=True),
            models.Index(fields=("reference",), name="payments_refund_reference", condition=~Q(reference="")),
        )

    def __str__(self) -> str:
        return self.key


class WebhookEvent(models.Model):
    """What a gateway has told us by itself, kept as it came and once per id of the event; `amount` in minor units."""

    class Type(models.TextChoices):
        """What it tells of."""

        CHARGED = "charged"
        REFUNDED = "refunded"
        DISPUTED = "disputed"

    class Status(models.TextChoices):
        """What became of it: parked until our own rows say the same, then applied; or put before a person."""

        RECEIVED = "received"
        PARKED = "parked"
        APPLIED = "applied"
        REPAIRED = "repaired"
        REPORTED = "reported"
        IGNORED = "ignored"

    gateway = models.CharField(max_length=32)
    event_id = models.CharField(max_length=KEY_LENGTH)
    type = models.CharField(max_length=64)
    key = models.CharField(max_length=KEY_LENGTH, blank=True)
    order_id = models.CharField(max_length=KEY_LENGTH, blank=True, db_index=True)
    amount = models.BigIntegerField(default=0)
    currency = models.CharField(max_length=3, blank=True)
    occurred_at = models.DateTimeField(null=True)
    payload: models.JSONField[Any, Any] = models.JSONField()
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.RECEIVED)
    received_at = models.DateTimeField(db_default=Now())
    hastened_at = models.DateTimeField(null=True, help_text="When it made the waiting command due.")
    settled_at = models.DateTimeField(null=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("gateway", "event_id"), name="payments_webhook_once_per_event"),)
        indexes = (
            models.Index(fields=("key",), name="payments_webhook_parked", condition=Q(status="parked")),
            BrinIndex(fields=("received_at",), name="payments_webhook_received", autosummarize=True),
        )

    def __str__(self) -> str:
        return f"{self.type} {self.event_id}"


class LedgerMark(ledgers.LedgerMark):
    """How far the ledgers of the gateways have been compared."""


class Sighting(ledgers.Sighting):
    """A charge or refund at a gateway that our rows did not explain at first."""


class Mismatch(ledgers.Mismatch):
    """What a person was told about a gateway's ledger."""
