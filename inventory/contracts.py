"""What inventory says and what it can be asked for."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

import msgspec

from outbox.contracts import Command, Event, FailureEvent, Message


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """So many pieces of one SKU."""

    sku: str
    quantity: int


class ProductListed(Event, frozen=True, kw_only=True):
    """A product is offered at a price in minor units."""

    wire_type: ClassVar[str] = "product.listed"

    sku: str
    name: str
    price: int
    currency: str


class InventoryReserved(Event, frozen=True, kw_only=True):
    """All lines of the order are held."""

    wire_type: ClassVar[str] = "inventory.reserved"

    order_id: UUID


class InventoryFailed(FailureEvent, frozen=True, kw_only=True):
    """Nothing was held. `sku` names the first SKU that was short."""

    wire_type: ClassVar[str] = "inventory.failed"

    order_id: UUID
    sku: str = ""


class InventoryReleased(Event, frozen=True, kw_only=True):
    """Nothing is held for the order any more."""

    wire_type: ClassVar[str] = "inventory.released"

    order_id: UUID


class ReserveInventory(Command, frozen=True, kw_only=True):
    """Hold all lines or none."""

    wire_type: ClassVar[str] = "inventory.reserve"
    success: ClassVar[type[Event]] = InventoryReserved
    failure: ClassVar[type[FailureEvent] | None] = InventoryFailed

    order_id: UUID
    lines: tuple[Line, ...]


class ReleaseInventory(Command, frozen=True, kw_only=True):
    """Give back whatever is held for the order."""

    wire_type: ClassVar[str] = "inventory.release"
    success: ClassVar[type[Event]] = InventoryReleased

    order_id: UUID


MESSAGES: tuple[type[Message], ...] = (
    ProductListed,
    InventoryReserved,
    InventoryFailed,
    InventoryReleased,
    ReserveInventory,
    ReleaseInventory,
)
