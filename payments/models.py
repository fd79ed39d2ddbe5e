"""The tables of payments. The primary keys are the idempotency keys the gateway was called with.

So a row and the gateway's own entry name each other, and a second record of the same call finds the first
one.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

KEY_LENGTH = 255


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

    def __str__(self) -> str:
        return self.key
