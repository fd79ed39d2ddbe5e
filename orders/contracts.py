"""What orders says and what it can be asked for."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

import msgspec

from outbox.contracts import Command, Event, FailureEvent, Message


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One ordered SKU."""

    sku: str
    quantity: int


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where an order goes; `country` is an ISO 3166 alpha-2 code."""

    name: str
    line1: str
    city: str
    postal_code: str
    country: str


class OrderCreated(Event, frozen=True, kw_only=True):
    """An order was placed; its prices are fixed. `amount` is in minor units."""

    wire_type: ClassVar[str] = "order.created"

    order_id: UUID
    customer_id: int
    lines: tuple[Line, ...]
    amount: int
    currency: str
    payment_method: str
    address: Address


class OrderCancelRequested(Event, frozen=True, kw_only=True):
    """A customer or an operator wants the order undone; it was not past the point of no return."""

    wire_type: ClassVar[str] = "order.cancel_requested"

    order_id: UUID
    reason: str


class OrderReturnRequested(Event, frozen=True, kw_only=True):
    """A customer sends a confirmed order back."""

    wire_type: ClassVar[str] = "order.return_requested"

    order_id: UUID
    amount: int
    currency: str


class OrderConfirmed(Event, frozen=True, kw_only=True):
    """The order is past the point of no return."""

    wire_type: ClassVar[str] = "order.confirmed"

    order_id: UUID
    customer_id: int


class OrderConfirmRefused(FailureEvent, frozen=True, kw_only=True):
    """The order could not be confirmed because it is being cancelled."""

    wire_type: ClassVar[str] = "order.confirm_refused"

    order_id: UUID


class OrderCancelled(Event, frozen=True, kw_only=True):
    """The order ended without effect; all that was done for it is undone."""

    wire_type: ClassVar[str] = "order.cancelled"

    order_id: UUID
    customer_id: int
    reason: str = ""


class OrderReturned(Event, frozen=True, kw_only=True):
    """A confirmed order was sent back: refunded and restocked."""

    wire_type: ClassVar[str] = "order.returned"

    order_id: UUID
    customer_id: int


class ConfirmOrder(Command, frozen=True, kw_only=True):
    """Confirm the order: the pivot of `order-fulfilment`."""

    wire_type: ClassVar[str] = "order.confirm"
    success: ClassVar[type[Event]] = OrderConfirmed
    failure: ClassVar[type[FailureEvent] | None] = OrderConfirmRefused

    order_id: UUID


class CancelOrder(Command, frozen=True, kw_only=True):
    """Close the order as cancelled, for `reason`."""

    wire_type: ClassVar[str] = "order.cancel"
    success: ClassVar[type[Event]] = OrderCancelled

    order_id: UUID
    reason: str


class ReturnOrder(Command, frozen=True, kw_only=True):
    """Close the order as returned."""

    wire_type: ClassVar[str] = "order.return"
    success: ClassVar[type[Event]] = OrderReturned

    order_id: UUID


MESSAGES: tuple[type[Message], ...] = (
    OrderCreated,
    OrderCancelRequested,
    OrderReturnRequested,
    OrderConfirmed,
    OrderConfirmRefused,
    OrderCancelled,
    OrderReturned,
    ConfirmOrder,
    CancelOrder,
    ReturnOrder,
)
