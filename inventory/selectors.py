"""What inventory answers to questions."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from inventory.models import Reservation, Stock
from outbox.story import Entry


def list_products() -> QuerySet[Stock]:
    """Return all products with their stock, in SKU order."""
    return Stock.objects.select_related("product").order_by("product_id")


def story(*, order_id: UUID) -> list[Entry]:
    """Return what the rows of inventory tell of an order: what was reserved, and what was released, and when."""
    told: dict[tuple[datetime, str], list[dict[str, Any]]] = defaultdict(list)
    for row in Reservation.objects.filter(order_id=order_id).order_by("sku"):
        line = {"sku": row.sku, "quantity": row.quantity}
        told[row.reserved_at, "goods reserved"].append(line)
        if row.released_at is not None:
            told[row.released_at, "goods released"].append(line)
    return [Entry(at=at, what=what, detail={"lines": lines}) for (at, what), lines in told.items()]
