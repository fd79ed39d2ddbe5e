"""F26: the carrier accepts and its answer is lost: one shipment or none. It refuses after the charge: refunded."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest

from tests.running import running_shop
from tests.shop import Shop


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """Start a shop that loses patience soon; in the end its books agree."""
    with running_shop(name="carrier", RELAY_LEASE_SECONDS="1", GATEWAY_TIMEOUT_SECONDS="0.5") as shop:
        yield shop
        assert shop.audit() == (0, [])


@pytest.fixture(autouse=True)
def _calm_afterwards(shop: Shop) -> Iterator[None]:
    yield
    shop.control("carrier", hold=False, timeout_created_ratio=0, refuse_ratio=0)


def kinds(shop: Shop, order_id: str) -> list[str]:
    """Return what the bank did for an order."""
    return [kind for kind, _ in shop.bank(order_id)]


def test_f26_accepted_and_the_answer_lost_is_one_shipment(shop: Shop) -> None:
    """The retry finds the parcel by its key."""
    shop.control("carrier", timeout_created_ratio=1)
    customer = shop.customer()
    order_id = customer.place({"MUG-WHITE": 1})

    assert customer.end_of(order_id) == "CONFIRMED"
    assert shop.carrier(order_id) == ["shipment"]
    assert kinds(shop, order_id) == ["charge"]


def test_f26_accepted_and_the_caller_killed_is_one_shipment(shop: Shop) -> None:
    """The parcel is at the carrier, and nobody who knows is alive: another process finds it by its key."""
    shop.control("carrier", timeout_created_ratio=1)
    customer = shop.customer()
    order_id = customer.place({"MUG-WHITE": 1})
    shop.wait_until(lambda: shop.carrier(order_id) == ["shipment"])
    for process in psutil.Process(shop.pids["effects"]).children():
        process.kill()

    assert customer.end_of(order_id) == "CONFIRMED"
    assert shop.carrier(order_id) == ["shipment"]
    assert kinds(shop, order_id) == ["charge"]


def test_f26_never_answered_and_accepted_too_late_is_no_shipment(shop: Shop) -> None:
    """The order has turned back and is refunded when the parcel reaches the carrier after all: it is stopped."""
    shop.control("carrier", hold=True)
    customer = shop.customer()
    order_id = customer.place({"MUG-WHITE": 1})
    end = customer.end_of(order_id)
    before = shop.carrier(order_id)
    shop.control("carrier", hold=False)
    shop.wait_until(lambda: shop.carrier(order_id) != [])

    def is_stopped() -> bool:
        assert shop.manage("reconcile").returncode == 0
        return len(shop.carrier(order_id)) > 1

    shop.wait_until(is_stopped)

    assert end == "CANCELLED shipping_unavailable"
    assert before == []
    assert shop.carrier(order_id) == ["shipment", "cancellation"]
    assert kinds(shop, order_id) == ["charge", "refund"]
    assert shop.query("SELECT 1 FROM sagas_case WHERE key = %s", order_id) == []


@pytest.mark.parametrize("why", ["the country", "the day"])
def test_f26_refused_after_the_charge_is_refunded(shop: Shop, why: str) -> None:
    """The customer has paid; the carrier does not take the parcel; the money goes back."""
    shop.control("carrier", refuse_ratio=1 if why == "the day" else 0)
    customer = shop.customer()
    order_id = customer.place({"MUG-WHITE": 1}, country="AQ" if why == "the country" else "DE")

    assert customer.end_of(order_id) == "CANCELLED shipping_refused"
    assert shop.carrier(order_id) == []
    assert kinds(shop, order_id) == ["charge", "refund"]
