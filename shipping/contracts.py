"""What shipping says and what it can be asked for."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

import msgspec

from outbox.contracts import Command, Event, FailureEvent, Message


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """So many pieces of one SKU."""

    sku: str
    quantity: int


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where a parcel goes; `country` is an ISO 3166 alpha-2 code."""

    name: str
    line1: str
    city: str
    postal_code: str
    country: str


class ShipmentCreated(Event, frozen=True, kw_only=True):
    """The carrier has accepted the parcel."""

    wire_type: ClassVar[str] = "shipment.created"

    order_id: UUID
    tracking: str


class ShipmentFailed(FailureEvent, frozen=True, kw_only=True):
    """The carrier refuses the parcel, or could not be reached in time."""

    wire_type: ClassVar[str] = "shipment.failed"

    order_id: UUID


class ShipmentCancelled(Event, frozen=True, kw_only=True):
    """No parcel goes out for the order."""

    wire_type: ClassVar[str] = "shipment.cancelled"

    order_id: UUID


class ShipmentMismatchFound(Event, frozen=True, kw_only=True):
    """The carrier's ledger and our shipments disagree about a key, and a person must settle it.

    `finding` says how, as a stable code.
    """

    wire_type: ClassVar[str] = "shipment.mismatch_found"

    order_id: UUID
    finding: str
    key: str
    detail: str


class CreateShipment(Command, frozen=True, kw_only=True):
    """Hand the order's parcel to the carrier."""

    wire_type: ClassVar[str] = "shipment.create"
    success: ClassVar[type[Event]] = ShipmentCreated
    failure: ClassVar[type[FailureEvent] | None] = ShipmentFailed

    order_id: UUID
    lines: tuple[Line, ...]
    address: Address


class CancelShipment(Command, frozen=True, kw_only=True):
    """Stop the order's parcel, if there is one."""

    wire_type: ClassVar[str] = "shipment.cancel"
    success: ClassVar[type[Event]] = ShipmentCancelled

    order_id: UUID


MESSAGES: tuple[type[Message], ...] = (
    ShipmentCreated,
    ShipmentFailed,
    ShipmentCancelled,
    ShipmentMismatchFound,
    CreateShipment,
    CancelShipment,
)
