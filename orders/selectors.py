"""Reads of orders; the lines always come along in one further statement."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Prefetch, QuerySet

from orders.models import Order, OrderLine
from outbox.idempotency import keys_of
from outbox.story import Entry

_LOADED_LINES: str = "loaded_lines"


def orders_of(*, customer_id: int) -> QuerySet[Order]:
    """Return the orders of a customer, newest first, with their lines when they are read."""
    return _with_lines().filter(customer_id=customer_id)


def order_of(*, order_id: UUID, customer_id: int) -> Order | None:
    """Return the customer's order with its lines; None if there is none or if it is another customer's."""
    return orders_of(customer_id=customer_id).filter(id=order_id).first()


def order_ids_of(*, customer_id: int, limit: int) -> list[UUID]:
    """Return the ids of a customer's newest orders, at most so many."""
    newest = Order.objects.filter(customer_id=customer_id).order_by("-id")
    return list(newest.values_list("id", flat=True)[:limit])


def is_settled(*, order_id: UUID) -> bool:
    """Tell whether the order has reached a status in which it rests."""
    return Order.objects.filter(id=order_id, status__in=Order.SETTLED).exists()


def find_order(*, order_id: UUID) -> Order | None:
    """Return an order with its lines, whoever's it is; None if there is none."""
    return _with_lines().filter(id=order_id).first()


def story(*, order_id: UUID) -> list[Entry]:
    """Return what the rows of orders tell of an order: at which prices and under which key, and where it stands."""
    order = find_order(order_id=order_id)
    if order is None:
        return []
    money = {"amount": order.amount, "currency": order.currency}
    lines = [
        {"sku": line.sku, "name": line.name, "quantity": line.quantity, "unit_price": line.unit_price}
        for line in order.loaded_lines
    ]
    placed = Entry(
        at=order.placed_at, what="order placed", detail={"customer_id": order.customer_id, **money, "lines": lines}
    )
    asked = [
        Entry(
            at=key.created_at,
            what=f"request kept under its idempotency key: {key.endpoint}",
            detail={"idempotency_key": key.key, "answered": key.status, "expires_at": key.expires_at},
        )
        for key in keys_of(customer_id=order.customer_id, order_id=order_id)
    ]
    moved = Entry(
        at=order.updated_at,
        what=f"order is {order.status}",
        detail={"status": order.status, "reason": order.reason, **money},
    )
    return [placed, *asked, *([moved] if order.updated_at > order.placed_at else [])]


def _with_lines() -> QuerySet[Order]:
    return Order.objects.prefetch_related(Prefetch("lines", queryset=OrderLine.objects.all(), to_attr=_LOADED_LINES))
