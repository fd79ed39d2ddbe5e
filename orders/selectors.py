"""Reads of orders; the lines always come along in one further statement."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Prefetch, QuerySet

from orders.models import Order, OrderLine

_LOADED_LINES: str = "loaded_lines"


def orders_of(*, customer_id: int) -> QuerySet[Order]:
    """Return the orders of a customer, newest first, with their lines when they are read."""
    return _with_lines().filter(customer_id=customer_id)


def order_of(*, order_id: UUID, customer_id: int) -> Order | None:
    """Return the customer's order with its lines; None if there is none or if it is another customer's."""
    return orders_of(customer_id=customer_id).filter(id=order_id).first()


def is_settled(*, order_id: UUID) -> bool:
    """Tell whether the order has reached a status in which it rests."""
    return Order.objects.filter(id=order_id, status__in=Order.SETTLED).exists()


def _with_lines() -> QuerySet[Order]:
    return Order.objects.prefetch_related(Prefetch("lines", queryset=OrderLine.objects.all(), to_attr=_LOADED_LINES))
