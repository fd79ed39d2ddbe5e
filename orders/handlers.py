"""What orders does when it is told something: message → one service call → event.

All handlers are joined: they touch this context's database only, and handle a batch with one statement. An
order that cannot go where a command sends it is a bug of the sender, or a message out of order: the batch is
bisected and the guilty command ends as a dead letter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from inventory.contracts import ProductListed
from orders import services
from orders.contracts import (
    CancelOrder,
    ConfirmOrder,
    OrderCancelled,
    OrderConfirmed,
    OrderConfirmRefused,
    OrderReturned,
    ReturnOrder,
)
from orders.models import Order
from outbox.consumers import Consumer, Joined, Outcome
from outbox.contracts import Envelope


class MisdirectedOrder(RuntimeError):
    """A command names an order that is not here or that cannot go where the command sends it."""


def confirm_order(envelopes: Sequence[Envelope[ConfirmOrder]]) -> list[Outcome]:
    """Confirm pending orders; refuse for those that are being cancelled, with the reason of that."""
    standings = services.confirm_orders(ids=[envelope.data.order_id for envelope in envelopes])

    def outcome(order_id: UUID) -> Outcome:
        standing = _standing(standings, order_id)
        if standing.status in Order.CONFIRMED_ONCE:
            return OrderConfirmed(order_id=order_id, customer_id=standing.customer_id)
        return OrderConfirmRefused(order_id=order_id, reason=standing.reason, detail=f"The order is {standing.status}.")

    return [outcome(envelope.data.order_id) for envelope in envelopes]


def cancel_order(envelopes: Sequence[Envelope[CancelOrder]]) -> list[Outcome]:
    """Close orders as cancelled. Raises `MisdirectedOrder` for one that was confirmed."""
    standings = services.cancel_orders(reasons={envelope.data.order_id: envelope.data.reason for envelope in envelopes})

    def outcome(order_id: UUID) -> Outcome:
        standing = _require(standings, order_id, Order.Status.CANCELLED)
        return OrderCancelled(order_id=order_id, customer_id=standing.customer_id, reason=standing.reason)

    return [outcome(envelope.data.order_id) for envelope in envelopes]


def return_order(envelopes: Sequence[Envelope[ReturnOrder]]) -> list[Outcome]:
    """Close orders as returned. Raises `MisdirectedOrder` for one whose return was not asked for."""
    standings = services.close_returned(ids=[envelope.data.order_id for envelope in envelopes])

    def outcome(order_id: UUID) -> Outcome:
        standing = _require(standings, order_id, Order.Status.RETURNED)
        return OrderReturned(order_id=order_id, customer_id=standing.customer_id)

    return [outcome(envelope.data.order_id) for envelope in envelopes]


def product_listed(envelopes: Sequence[Envelope[ProductListed]]) -> list[Outcome]:
    """Keep the price list up to date."""
    services.list_prices(products=[envelope.data for envelope in envelopes])
    return [None] * len(envelopes)


def _standing(standings: Mapping[UUID, services.Standing], order_id: UUID) -> services.Standing:
    try:
        return standings[order_id]
    except KeyError:
        raise MisdirectedOrder(f"there is no order {order_id}") from None


def _require(standings: Mapping[UUID, services.Standing], order_id: UUID, status: Order.Status) -> services.Standing:
    standing = _standing(standings, order_id)
    if standing.status != status:
        raise MisdirectedOrder(f"order {order_id} is {standing.status}, it cannot become {status}")
    return standing


CONSUMER = Consumer(
    name="orders",
    handlers={
        ConfirmOrder: Joined(confirm_order),
        CancelOrder: Joined(cancel_order),
        ReturnOrder: Joined(return_order),
        ProductListed: Joined(product_listed),
    },
)
