"""What inventory answers to questions."""

from __future__ import annotations

from django.db.models import QuerySet

from inventory.models import Stock


def list_products() -> QuerySet[Stock]:
    """Return all products with their stock, in SKU order."""
    return Stock.objects.select_related("product").order_by("product_id")
