"""Orders are counted per day, outcome and currency: each once per outcome, by the day it happened."""

from datetime import UTC, date, datetime, timedelta, timezone
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from uuid_utils.compat import uuid7

from analytics.handlers import CONSUMER, count_cancelled, count_confirmed, count_placed, count_returned
from analytics.models import OrdersPerDay
from orders.contracts import Address, OrderCancelled, OrderConfirmed, OrderCreated, OrderReturned
from tests.factories.envelopes import envelope

pytestmark = pytest.mark.django_db

ADDRESS = Address(name="Ada", line1="1 Main St", city="Köln", postal_code="50667", country="DE")
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = date(2026, 11, 24)


def placed(amount: int = 100, *, currency: str = "EUR") -> OrderCreated:
    return OrderCreated(
        order_id=uuid7(),
        customer_id=1,
        lines=(),
        amount=amount,
        currency=currency,
        payment_method="pm_card_visa",
        address=ADDRESS,
    )


def confirmed(order: OrderCreated) -> OrderConfirmed:
    return OrderConfirmed(order_id=order.order_id, customer_id=1)


def cancelled(order: OrderCreated) -> OrderCancelled:
    return OrderCancelled(order_id=order.order_id, customer_id=1, reason="out_of_stock")


def returned(order: OrderCreated) -> OrderReturned:
    return OrderReturned(order_id=order.order_id, customer_id=1)


def totals() -> dict[tuple[date, str, str], tuple[int, int]]:
    rows = OrdersPerDay.objects.values_list("day", "outcome", "currency", "orders", "amount")
    return {(day, outcome, currency): (orders, amount) for day, outcome, currency, orders, amount in rows}


def test_a_batch_is_added_up_per_currency() -> None:
    orders = [placed(100), placed(250), placed(7, currency="USD")]

    outcomes = count_placed([envelope(order, time=NOON) for order in orders])

    assert outcomes == [None, None, None]
    assert totals() == {(DAY, "created", "EUR"): (2, 350), (DAY, "created", "USD"): (1, 7)}


def test_every_outcome_is_counted_on_its_own_day() -> None:
    kept, lost = placed(100), placed(30)
    count_placed([envelope(kept, time=NOON), envelope(lost, time=NOON)])

    count_confirmed([envelope(confirmed(kept), time=NOON)])
    count_cancelled([envelope(cancelled(lost), time=NOON + timedelta(days=1))])
    count_returned([envelope(returned(kept), time=NOON + timedelta(days=9))])

    assert totals() == {
        (DAY, "created", "EUR"): (2, 130),
        (DAY, "confirmed", "EUR"): (1, 100),
        (date(2026, 11, 25), "cancelled", "EUR"): (1, 30),
        (date(2026, 12, 3), "returned", "EUR"): (1, 100),
    }


def test_events_delivered_twice_are_counted_once() -> None:
    order = placed()
    for _ in range(2):
        count_placed([envelope(order, time=NOON), envelope(order, time=NOON)])
        count_confirmed([envelope(confirmed(order), time=NOON), envelope(confirmed(order), time=NOON)])

    assert totals() == {(DAY, "created", "EUR"): (1, 100), (DAY, "confirmed", "EUR"): (1, 100)}


def test_days_are_those_of_utc() -> None:
    late = datetime(2026, 11, 24, 23, 30, tzinfo=timezone(timedelta(hours=-5)))

    count_placed([envelope(placed(), time=late)])

    assert list(totals()) == [(date(2026, 11, 25), "created", "EUR")]


def test_an_order_that_was_never_placed_is_not_counted() -> None:
    unknown = OrderConfirmed(order_id=UUID(int=1), customer_id=1)

    assert count_confirmed([envelope(unknown)]) == [None]

    assert totals() == {}


def test_an_order_that_was_cancelled_cannot_be_returned() -> None:
    order = placed()
    count_placed([envelope(order, time=NOON)])
    count_cancelled([envelope(cancelled(order), time=NOON)])

    count_returned([envelope(returned(order), time=NOON)])

    assert set(totals()) == {(DAY, "created", "EUR"), (DAY, "cancelled", "EUR")}


def test_a_batch_costs_the_same_statements_however_large_it_is() -> None:
    orders = [placed() for _ in range(100)]

    with CaptureQueriesContext(connection) as placing:
        count_placed([envelope(order) for order in orders])
    with CaptureQueriesContext(connection) as confirming:
        count_confirmed([envelope(confirmed(order)) for order in orders])

    assert (len(placing), len(confirming)) == (3, 3)


def test_analytics_hears_of_every_order() -> None:
    assert set(CONSUMER.handlers) == {OrderCreated, OrderConfirmed, OrderCancelled, OrderReturned}
