"""The only writer of analytics. It expects an open transaction: the one the events are settled in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from uuid import UUID

from django.db import connection

from analytics import sql
from analytics.models import Outcome

# Where an order comes from when it reaches an outcome: one that is elsewhere, or unknown, is not counted.
_FROM = {
    Outcome.CONFIRMED: Outcome.CREATED,
    Outcome.CANCELLED: Outcome.CREATED,
    Outcome.RETURNED: Outcome.CONFIRMED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """An order as it was placed on a day; `amount` in minor units."""

    day: date
    amount: int
    currency: str


def count_placed(*, orders: Mapping[UUID, Placed]) -> None:
    """Count new orders. Safe to call twice: an order that is known is not counted again."""
    with connection.cursor() as cursor:
        cursor.execute(sql.TAKE_TURN)
        rows = [(order_id, placed.amount, placed.currency) for order_id, placed in orders.items()]
        cursor.execute(sql.ADD_ORDERS, [list(column) for column in zip(*rows, strict=True)])
        added: list[tuple[UUID, int, str]] = cursor.fetchall()
    _add_to_days(
        outcome=Outcome.CREATED,
        orders=added,
        days={order_id: placed.day for order_id, placed in orders.items()},
    )


def count_outcome(*, outcome: Outcome, days: Mapping[UUID, date]) -> None:
    """Count orders that reached an outcome on a day. Safe to call twice: an order reaches it once."""
    with connection.cursor() as cursor:
        cursor.execute(sql.TAKE_TURN)
        cursor.execute(sql.MOVE_ORDERS, [outcome.value, list(days), _FROM[outcome].value])
        moved: list[tuple[UUID, int, str]] = cursor.fetchall()
    _add_to_days(outcome=outcome, orders=moved, days=days)


def _add_to_days(*, outcome: Outcome, orders: list[tuple[UUID, int, str]], days: Mapping[UUID, date]) -> None:
    totals: dict[tuple[date, str], list[int]] = defaultdict(lambda: [0, 0])
    for order_id, amount, currency in orders:
        total = totals[days[order_id], currency]
        total[0] += 1
        total[1] += amount
    if not totals:
        return
    rows = [(day, outcome.value, currency, *total) for (day, currency), total in totals.items()]
    with connection.cursor() as cursor:
        cursor.execute(sql.ADD_TO_DAYS, [list(column) for column in zip(*rows, strict=True)])
