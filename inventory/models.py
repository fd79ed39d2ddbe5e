"""The tables of inventory.

The database itself guarantees that stock never goes below zero and always adds up.
"""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

SKU_LENGTH = 64
NAME_LENGTH = 200


class Product(models.Model):
    """What can be bought, at which price in minor units.

    SKUs are compared byte by byte (collation "C"), so that the order in which stock is locked is the same in
    Python and in every database. `listing_id` is the message that last told of the product.
    """

    sku = models.CharField(primary_key=True, max_length=SKU_LENGTH, db_collation="C")
    name = models.CharField(max_length=NAME_LENGTH)
    price = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    listed_at = models.DateTimeField(db_default=Now())
    listing_id = models.UUIDField()

    class Meta:
        ordering = ("sku",)
        constraints = (
            models.CheckConstraint(name="inventory_product_price_positive", condition=Q(price__gt=0)),
            models.CheckConstraint(name="inventory_product_currency_code", condition=Q(currency__regex="^[A-Z]{3}$")),
        )

    def __str__(self) -> str:
        return self.sku


class Stock(models.Model):
    """How many pieces of a product were loaded: they are on hand, or reserved for an order."""

    product = models.OneToOneField(Product, primary_key=True, db_column="sku", on_delete=models.PROTECT)
    on_hand = models.BigIntegerField()
    reserved = models.BigIntegerField(db_default=0)
    loaded = models.BigIntegerField()

    class Meta:
        verbose_name_plural = "stock"
        constraints = (
            models.CheckConstraint(name="inventory_stock_on_hand_not_negative", condition=Q(on_hand__gte=0)),
            models.CheckConstraint(name="inventory_stock_reserved_not_negative", condition=Q(reserved__gte=0)),
            models.CheckConstraint(name="inventory_stock_adds_up", condition=Q(loaded=F("on_hand") + F("reserved"))),
        )

    def __str__(self) -> str:
        return f"{self.product_id}: {self.on_hand}"


class Reservation(models.Model):
    """So many pieces of one SKU held for one order, until they are released."""

    class Status(models.TextChoices):
        """Whether the pieces are still held."""

        HELD = "held"
        RELEASED = "released"

    pk = models.CompositePrimaryKey("order_id", "sku")
    order_id = models.UUIDField()
    sku = models.CharField(max_length=SKU_LENGTH, db_collation="C")
    quantity = models.IntegerField()
    status = models.CharField(max_length=8, choices=Status.choices, db_default=Status.HELD)
    reserved_at = models.DateTimeField(db_default=Now())
    released_at = models.DateTimeField(null=True)

    class Meta:
        constraints = (
            models.CheckConstraint(name="inventory_reservation_quantity_positive", condition=Q(quantity__gt=0)),
            models.CheckConstraint(
                name="inventory_reservation_held_or_released",
                condition=Q(status="held", released_at__isnull=True) | Q(status="released", released_at__isnull=False),
            ),
        )

    def __str__(self) -> str:
        return f"{self.order_id}: {self.quantity} × {self.sku} {self.status}"
