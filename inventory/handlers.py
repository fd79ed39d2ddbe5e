"""What inventory does with a message: one service call for the whole batch."""

from __future__ import annotations

from collections.abc import Sequence

from inventory import services
from inventory.contracts import (
    InventoryFailed,
    InventoryReleased,
    InventoryReserved,
    ReleaseInventory,
    ReserveInventory,
)
from outbox.consumers import Consumer, Joined, Outcome
from outbox.contracts import Envelope


def reserve_inventory(envelopes: Sequence[Envelope[ReserveInventory]]) -> list[Outcome]:
    """Hold what each order asks for, or say which SKU is short."""
    commands = [envelope.data for envelope in envelopes]
    refusals = services.reserve_inventory(commands=commands)
    return [
        InventoryReserved(order_id=command.order_id)
        if refusal is None
        else InventoryFailed(order_id=command.order_id, reason=refusal.reason, sku=refusal.sku, detail=refusal.detail)
        for command, refusal in zip(commands, refusals, strict=True)
    ]


def release_inventory(envelopes: Sequence[Envelope[ReleaseInventory]]) -> list[Outcome]:
    """Give back what each order holds; an order that holds nothing is released all the same."""
    order_ids = [envelope.data.order_id for envelope in envelopes]
    services.release_inventory(order_ids=order_ids)
    return [InventoryReleased(order_id=order_id) for order_id in order_ids]


CONSUMER = Consumer(
    name="inventory",
    handlers={
        ReserveInventory: Joined(handle=reserve_inventory),
        ReleaseInventory: Joined(handle=release_inventory),
    },
)
