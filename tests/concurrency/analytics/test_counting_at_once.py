"""Two relays count at once: they meet on the rows of today and wait for each other, but never in a circle."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections, transaction
from uuid_utils.compat import uuid7

from analytics.handlers import count_confirmed, count_placed
from analytics.models import OrdersPerDay
from orders.contracts import Address, OrderConfirmed, OrderCreated
from tests.factories.envelopes import envelope

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["analytics"])

ADDRESS = Address(name="Ada", line1="1 Main St", city="Köln", postal_code="50667", country="DE")
ROUNDS = 30


def placed(currency: str) -> OrderCreated:
    return OrderCreated(
        order_id=uuid7(),
        customer_id=1,
        lines=(),
        amount=100,
        currency=currency,
        payment_method="pm_card_visa",
        address=ADDRESS,
    )


def test_batches_that_reach_the_days_in_another_order_do_not_deadlock() -> None:
    known = [placed("EUR") for _ in range(2 * ROUNDS)]
    count_placed([envelope(order) for order in known])
    start = threading.Barrier(2)

    def count_new(_: OrderCreated) -> None:
        count_placed([envelope(placed("USD")), envelope(placed("EUR"))])

    def count_known(order: OrderCreated) -> None:
        count_confirmed([envelope(OrderConfirmed(order_id=order.order_id, customer_id=1))])

    def run(steps: Sequence[Callable[[OrderCreated], None]], orders: Sequence[OrderCreated]) -> None:
        try:
            start.wait(timeout=10)
            for order in orders:
                with transaction.atomic():
                    for step in steps:
                        step(order)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(run, (count_new, count_known), known[::2])
        other = pool.submit(run, (count_known, count_new), known[1::2])
        one.result()
        other.result()

    totals = {(row.outcome, row.currency): (row.orders, row.amount) for row in OrdersPerDay.objects.all()}
    assert totals == {
        ("created", "EUR"): (4 * ROUNDS, 400 * ROUNDS),
        ("created", "USD"): (2 * ROUNDS, 200 * ROUNDS),
        ("confirmed", "EUR"): (2 * ROUNDS, 200 * ROUNDS),
    }
