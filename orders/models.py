"""What customers bought, at which price, and how far it got; and the price list that checkout reads.

Amounts are integers in minor units. Integrity lives in the database: statuses, amounts and quantities are
checked there, and the duplicate guard is an exclusion constraint, so that two processes cannot both pass it.
"""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateTimeRangeField, RangeOperators
from django.db import models
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.db.models.functions import Now

# The largest order, lines × quantity × price, still fits a bigint.
MAX_LINES = 100
MAX_QUANTITY = 10_000
MAX_PRICE = 10**12

DUPLICATE_GUARD = "orders_order_duplicate_guard"


class Order(models.Model):
    """One checkout of one customer.

    `guard_window` is the second after `placed_at` in which the same customer cannot order the same items
    again. `loaded_lines` is filled by whoever loads or places the order.
    """

    class Status(models.TextChoices):
        """How far the order got."""

        PENDING = "PENDING"
        CONFIRMED = "CONFIRMED"
        CANCELLING = "CANCELLING"
        CANCELLED = "CANCELLED"
        RETURNING = "RETURNING"
        RETURNED = "RETURNED"

    SETTLED: ClassVar = frozenset({Status.CONFIRMED, Status.CANCELLED, Status.RETURNED})
    CONFIRMED_ONCE: ClassVar = frozenset({Status.CONFIRMED, Status.RETURNING, Status.RETURNED})

    id = models.UUIDField(primary_key=True, editable=False)
    customer_id = models.BigIntegerField()
    status = models.TextField(choices=Status.choices, db_default=Status.PENDING)
    reason = models.TextField(db_default="", blank=True)
    amount = models.BigIntegerField()
    currency = models.TextField()
    payment_method = models.TextField()
    shipping_address: models.JSONField[dict[str, str], dict[str, str]] = models.JSONField()
    items_hash = models.BigIntegerField()
    guard_window: models.Field[DateTimeTZRange, DateTimeTZRange] = DateTimeRangeField()
    placed_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    loaded_lines: list[OrderLine]

    class Meta:
        ordering = ("-id",)
        indexes = (models.Index("customer_id", models.F("id").desc(), name="orders_order_of_customer"),)
        constraints = (
            models.CheckConstraint(
                name="orders_order_status_known",
                condition=models.Q(
                    status__in=("PENDING", "CONFIRMED", "CANCELLING", "CANCELLED", "RETURNING", "RETURNED")
                ),
            ),
            models.CheckConstraint(name="orders_order_amount_not_negative", condition=models.Q(amount__gte=0)),
            models.CheckConstraint(name="orders_order_currency_code", condition=models.Q(currency__regex="^[A-Z]{3}$")),
            ExclusionConstraint(
                name=DUPLICATE_GUARD,
                expressions=(
                    ("customer_id", RangeOperators.EQUAL),
                    ("items_hash", RangeOperators.EQUAL),
                    ("guard_window", RangeOperators.OVERLAPS),
                ),
            ),
        )

    def __str__(self) -> str:
        return str(self.id)


class OrderLine(models.Model):
    """So many pieces of one SKU, with the name and price they had at checkout."""

    pk = models.CompositePrimaryKey("order_id", "position")
    # The primary key begins with the order: an index of its own would only cost.
    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="lines", db_index=False)
    position = models.SmallIntegerField()
    sku = models.TextField()
    name = models.TextField()
    quantity = models.IntegerField()
    unit_price = models.BigIntegerField()

    class Meta:
        ordering = ("order_id", "position")
        constraints = (
            models.CheckConstraint(
                name="orders_orderline_quantity_in_range",
                condition=models.Q(quantity__gte=1, quantity__lte=MAX_QUANTITY),
            ),
            models.CheckConstraint(
                name="orders_orderline_unit_price_not_negative", condition=models.Q(unit_price__gte=0)
            ),
        )

    def __str__(self) -> str:
        return f"{self.quantity} × {self.sku}"


class Price(models.Model):
    """What one piece of a SKU costs at checkout: this context's own copy, fed by `product.listed`."""

    sku = models.TextField(primary_key=True)
    name = models.TextField()
    amount = models.BigIntegerField()
    currency = models.TextField()
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ("sku",)
        constraints = (
            models.CheckConstraint(
                name="orders_price_amount_in_range", condition=models.Q(amount__gte=0, amount__lte=MAX_PRICE)
            ),
            models.CheckConstraint(name="orders_price_currency_code", condition=models.Q(currency__regex="^[A-Z]{3}$")),
        )

    def __str__(self) -> str:
        return self.sku
