"""F27: a customer cancels while the charge is in flight, or past the point of no return: one clean end each time."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.running import running_shop
from tests.shop import Shop

CHARGING = "SELECT count(*) FROM outbox_delivery WHERE type = 'payment.charge' AND token IS NOT NULL"
RACES = 16
SEED = 27


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """A running shop."""
    with running_shop(name="f27", GATEWAY_TIMEOUT_SECONDS="5") as running:
        yield running


def kept(shop: Shop, order_id: str) -> int:
    """Return what the bank keeps of an order."""
    return sum(amount if kind == "charge" else -amount for kind, amount in shop.bank(order_id))


def is_quiet(shop: Shop) -> bool:
    """Tell whether no saga runs and nothing waits."""
    live = "SELECT count(*) FROM sagas_sagainstance WHERE status IN ('RUNNING', 'COMPENSATING')"
    return shop.query(live) == [(0,)] and shop.query("SELECT count(*) FROM outbox_delivery") == [(0,)]


def test_f27_a_cancel_while_the_charge_is_in_flight_leaves_no_money_and_no_parcel(shop: Shop) -> None:
    """The bank is slow: the wish comes between its being asked and its answer."""
    shop.control("bank", latency_ms=1_500)
    customer = shop.customer()
    order_id = customer.place({"KETTLE": 1})
    shop.wait_until(lambda: shop.query(CHARGING) != [(0,)])

    answer = customer.post(f"/api/v1/orders/{order_id}/cancel")
    shop.control("bank", latency_ms=0)

    assert (answer.status_code, answer.json()["status"]) == (202, "CANCELLING")
    assert customer.end_of(order_id) == "CANCELLED cancelled_by_customer"
    shop.wait_until(lambda: is_quiet(shop))
    assert kept(shop, order_id) == 0
    assert [kind for kind, _ in shop.bank(order_id)] in ([], ["charge", "refund"])
    assert shop.carrier(order_id) == []
    assert shop.audit() == (0, [])


def test_f27_a_cancel_past_the_point_of_no_return_is_refused_with_the_way_out(shop: Shop) -> None:
    """409, with the reason and what can be done instead; nothing changes."""
    customer = shop.customer()
    order_id = customer.place({"GRINDER": 1})
    assert customer.end_of(order_id) == "CONFIRMED"
    before = shop.query("SELECT count(*) FROM outbox_message WHERE ordering_key = %s", order_id)

    answer = customer.post(f"/api/v1/orders/{order_id}/cancel")

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (409, "not-cancellable")
    assert "can be returned" in problem["detail"]
    assert customer.status_of(order_id) == "CONFIRMED"
    assert shop.query("SELECT count(*) FROM outbox_message WHERE ordering_key = %s", order_id) == before
    assert [kind for kind, _ in shop.bank(order_id)] == ["charge"]


def test_f27_two_cancels_of_one_order_are_one(shop: Shop) -> None:
    """Under different keys and at once: both are accepted, one thing happens."""
    shop.control("bank", latency_ms=1_000)
    customer = shop.customer()
    order_id = customer.place({"MUG-BLUE": 3})
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: customer.post(f"/api/v1/orders/{order_id}/cancel"), range(4)))
    shop.control("bank", latency_ms=0)

    assert {answer.status_code for answer in answers} == {202}
    assert customer.end_of(order_id) == "CANCELLED cancelled_by_customer"
    said = "SELECT count(*) FROM outbox_message WHERE ordering_key = %s AND type = 'order.cancel_requested'"
    assert shop.query(said, order_id) == [(1,)]
    shop.wait_until(lambda: is_quiet(shop))
    assert kept(shop, order_id) == 0


def test_f27_a_cancel_at_any_moment_ends_one_way_or_the_other(shop: Shop) -> None:
    """Money, parcel and status agree, wherever the wish met the saga."""
    shop.control("bank", latency_ms=100)
    shop.control("carrier", latency_ms=100)
    draw = random.Random(SEED)
    moments = [draw.uniform(0, 0.8) for _ in range(RACES)]

    def race(moment: float) -> tuple[str, int, str]:
        customer = shop.customer()
        order_id = customer.place({"TEA-MINT": 2})
        time.sleep(moment)
        answer = customer.post(f"/api/v1/orders/{order_id}/cancel")
        return order_id, answer.status_code, customer.end_of(order_id)

    with ThreadPoolExecutor(4) as pool:
        ends = list(pool.map(race, moments))
    shop.control("bank", latency_ms=0)
    shop.control("carrier", latency_ms=0)
    shop.wait_until(lambda: is_quiet(shop))

    for order_id, status, end in ends:
        assert (status, end) in {(202, "CANCELLED cancelled_by_customer"), (409, "CONFIRMED")}
        assert kept(shop, order_id) == (840 if end == "CONFIRMED" else 0)
        parcels = shop.carrier(order_id)
        assert parcels.count("shipment") - parcels.count("cancellation") == (1 if end == "CONFIRMED" else 0)
    assert {status for _, status, _ in ends} >= {202}
    assert shop.audit() == (0, [])
