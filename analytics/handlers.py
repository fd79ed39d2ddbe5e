"""What analytics does with an event: count it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date
from typing import Any

from analytics import services
from analytics.models import Outcome as Reached
from orders.contracts import OrderCancelled, OrderConfirmed, OrderCreated, OrderReturned
from outbox.consumers import Consumer, Joined, Outcome
from outbox.contracts import Envelope


def count_placed(envelopes: Sequence[Envelope[OrderCreated]]) -> list[Outcome]:
    """Count new orders and keep their amounts."""
    services.count_placed(
        orders={
            envelope.data.order_id: services.Placed(
                day=_day(envelope), amount=envelope.data.amount, currency=envelope.data.currency
            )
            for envelope in envelopes
        }
    )
    return [None] * len(envelopes)


def count_confirmed(envelopes: Sequence[Envelope[OrderConfirmed]]) -> list[Outcome]:
    """Count confirmed orders."""
    return _count(envelopes, Reached.CONFIRMED)


def count_cancelled(envelopes: Sequence[Envelope[OrderCancelled]]) -> list[Outcome]:
    """Count cancelled orders."""
    return _count(envelopes, Reached.CANCELLED)


def count_returned(envelopes: Sequence[Envelope[OrderReturned]]) -> list[Outcome]:
    """Count returned orders."""
    return _count(envelopes, Reached.RETURNED)


def _count(envelopes: Sequence[Envelope[Any]], outcome: Reached) -> list[Outcome]:
    services.count_outcome(outcome=outcome, days={envelope.data.order_id: _day(envelope) for envelope in envelopes})
    return [None] * len(envelopes)


def _day(envelope: Envelope[Any]) -> date:
    return envelope.time.astimezone(UTC).date()


CONSUMER = Consumer(
    name="analytics",
    handlers={
        OrderCreated: Joined(handle=count_placed),
        OrderConfirmed: Joined(handle=count_confirmed),
        OrderCancelled: Joined(handle=count_cancelled),
        OrderReturned: Joined(handle=count_returned),
    },
)
