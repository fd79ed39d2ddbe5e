"""F07: the saga has turned back, and then the late charge succeeds: refunded, order CANCELLED, no money kept.

The bank holds the charge, like a message that is stuck on its way, until the compensation has looked for it and found
nothing. Then it arrives.
"""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest

from tests.faults.crowd import calls_at
from tests.running import running_shop
from tests.shop import Shop


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """Start a shop that loses patience soon; in the end its books agree."""
    with running_shop(name="late_charge", RELAY_LEASE_SECONDS="1", GATEWAY_TIMEOUT_SECONDS="0.5") as shop:
        yield shop
        assert shop.audit() == (0, [])


@pytest.fixture(params=["a webhook", "the sweep"])
def tells(shop: Shop, request: pytest.FixtureRequest) -> Iterator[str]:
    """Let a webhook tell of the late charge, or leave it to the sweep to find it."""
    shop.control("bank", hold=True, webhook_hold=request.param == "the sweep")
    yield request.param
    shop.control("bank", hold=False, webhook_hold=False)


def let_it_arrive(shop: Shop, order_id: str, tells: str) -> None:
    """Let the held charge go on, and wait until the money is back."""
    before = shop.bank(order_id)
    shop.control("bank", hold=False)
    shop.wait_until(lambda: shop.bank(order_id) != [])

    def is_given_back() -> bool:
        if tells == "the sweep":
            assert shop.manage("reconcile").returncode == 0
        return len(shop.bank(order_id)) > 1

    shop.wait_until(is_given_back)
    assert before == []


def assert_no_money_is_kept(shop: Shop, order_id: str) -> None:
    """The late charge was given back once, under the key of its compensation, and nobody was asked."""
    (_, charged), (_, refunded) = shop.bank(order_id)
    recorded = "SELECT key FROM payments_refund WHERE order_id = %s"
    shop.wait_until(lambda: len(shop.query(recorded, order_id)) == 1)
    [(refund_key,)] = shop.query(recorded, order_id)
    assert [kind for kind, _ in shop.bank(order_id)] == ["charge", "refund"]
    assert charged == refunded
    assert refund_key.endswith("-charge-payment-compensation")
    assert shop.query("SELECT status FROM payments_payment WHERE order_id = %s", order_id) == [("refunded",)]
    assert shop.query("SELECT 1 FROM sagas_case WHERE key = %s", order_id) == []


def test_f07_a_charge_that_arrives_after_the_compensation_is_given_back(shop: Shop, tells: str) -> None:
    """Every attempt to charge timed out; the refund found nothing to undo; then all attempts arrive at once."""
    customer = shop.customer()
    order_id = customer.place({"MUG-WHITE": 1})
    end = customer.end_of(order_id)

    let_it_arrive(shop, order_id, tells)

    assert end == "CANCELLED payment_unavailable"
    assert_no_money_is_kept(shop, order_id)
    assert customer.status_of(order_id) == "CANCELLED"


def test_f07_a_charge_whose_caller_was_killed_is_given_back(shop: Shop, tells: str) -> None:
    """The process that asked for the charge is dead before it could note anything, and the customer cancels.

    Nothing but the bank knows of the charge, and it is not there yet when the compensation looks for it.
    """
    customer = shop.customer()
    asked = len(calls_at(shop, "bank"))
    order_id = customer.place({"MUG-WHITE": 1})
    # Not when it is claimed: killed before it asks, it would leave no charge behind.
    shop.wait_until(lambda: len(calls_at(shop, "bank")) > asked)
    for process in psutil.Process(shop.pids["effects"]).children():
        process.kill()
    customer.post(f"/api/v1/orders/{order_id}/cancel").raise_for_status()
    end = customer.end_of(order_id)

    let_it_arrive(shop, order_id, tells)

    assert end == "CANCELLED cancelled_by_customer"
    assert_no_money_is_kept(shop, order_id)
    assert customer.status_of(order_id) == "CANCELLED"
