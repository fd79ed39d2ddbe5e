"""Who tells of an order what its own rows know: one line per context."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import inventory.selectors
import notifications.selectors
import orders.selectors
import payments.selectors
import shipping.selectors
from outbox.story import Entry


@dataclass(frozen=True, slots=True)
class Story:
    """A context's own rows of an order: who tells them, and who may read them."""

    kind: str
    title: str
    tell: Callable[..., list[Entry]]
    permissions: tuple[str, ...]

    def entries(self, order_id: UUID) -> list[Entry]:
        """Return what it knows of the order."""
        return self.tell(order_id=order_id)


STORIES = (
    Story("orders", "Order", orders.selectors.story, ("orders.view_order",)),
    Story("inventory", "Goods", inventory.selectors.story, ("inventory.view_reservation",)),
    Story("payments", "Money", payments.selectors.story, ("payments.view_payment", "payments.view_webhookevent")),
    Story("shipping", "Parcels", shipping.selectors.story, ("shipping.view_shipment",)),
    Story("notifications", "E-mails", notifications.selectors.story, ("notifications.view_email",)),
)
