"""The read models of analytics: what it keeps of each order, and the sums that reports show."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Outcome(models.TextChoices):
    """How far an order got."""

    CREATED = "created"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"
    RETURNED = "returned"


class OrderFact(models.Model):
    """What analytics knows of one order; `amount` in minor units.

    Every order is counted once per outcome by it.
    """

    order_id = models.UUIDField(primary_key=True)
    outcome = models.CharField(max_length=9, choices=Outcome.choices)
    amount = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    updated_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.order_id} {self.outcome}"


class OrdersPerDay(models.Model):
    """How many orders reached an outcome on a day (UTC), and what they add up to in minor units."""

    day = models.DateField()
    outcome = models.CharField(max_length=9, choices=Outcome.choices)
    currency = models.CharField(max_length=3)
    orders = models.BigIntegerField()
    amount = models.BigIntegerField()

    class Meta:
        verbose_name_plural = "orders per day"
        ordering = ("-day", "outcome", "currency")
        constraints = (
            models.UniqueConstraint(name="analytics_orders_per_day_unique", fields=("day", "outcome", "currency")),
            models.CheckConstraint(name="analytics_orders_per_day_counted", condition=Q(orders__gt=0)),
        )

    def __str__(self) -> str:
        return f"{self.day} {self.outcome} {self.currency}: {self.orders}"
