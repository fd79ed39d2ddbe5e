"""F06: the bank does not answer in time. It may have charged or not: the outcome is looked up by key, never guessed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.running import running_shop
from tests.shop import Customer, Shop


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """Start a shop that waits half a second for the bank."""
    with running_shop(name="f06", GATEWAY_TIMEOUT_SECONDS="0.5", BREAKER_PROBE_SECONDS="0.5") as shop:
        yield shop
        assert shop.audit() == (0, [])


@pytest.fixture
def ada(shop: Shop) -> Iterator[Customer]:
    """A customer; afterwards the bank is well again."""
    yield shop.customer()
    shop.control("bank", timeout_ratio=0, timeout_charged_ratio=0, down=False, latency_ms=0)


def bank_calls(shop: Shop, operation: str, outcome: str) -> float:
    """Return how many calls of the bank had this outcome, by our own metrics."""
    for line in shop.http.get("/metrics").raise_for_status().text.splitlines():
        if line.startswith(f'gateway_requests_total{{gateway="bank",operation="{operation}",outcome="{outcome}"}}'):
            return float(line.split()[-1])
    return 0


def test_f06_charged_and_no_answer_the_charge_is_found_and_kept(shop: Shop, ada: Customer) -> None:
    """The retry asks by key, finds the charge, and sends no second one."""
    found = bank_calls(shop, "look_up", "ok")
    charges = bank_calls(shop, "charge", "ok")

    order = ada.place({"KETTLE": 1}, payment_method="pm_sim_timeout_charged")

    assert ada.end_of(order) == "CONFIRMED"
    assert shop.bank(order) == [("charge", 3995)]
    assert bank_calls(shop, "look_up", "ok") == found + 1
    assert bank_calls(shop, "charge", "ok") == charges


def test_f06_not_charged_and_no_answer_it_is_charged_once(shop: Shop, ada: Customer) -> None:
    """The retry asks by key, finds nothing, and charges."""
    unknown = bank_calls(shop, "look_up", "not_found")

    order = ada.place({"KETTLE": 1}, payment_method="pm_sim_timeout_not_charged")

    assert ada.end_of(order) == "CONFIRMED"
    assert shop.bank(order) == [("charge", 3995)]
    assert bank_calls(shop, "look_up", "not_found") > unknown


@pytest.mark.parametrize(("share", "what"), [("timeout_charged_ratio", "charged"), ("timeout_ratio", "not charged")])
def test_f06_many_at_once(shop: Shop, ada: Customer, share: str, what: str) -> None:
    """All first answers of the bank are lost, or never come: that is an outage too, and each order ends well."""
    shop.control("bank", **{share: 1})

    orders = [ada.place({"MUG-BLUE": 1 + number, "TEA-MINT": len(what)}) for number in range(20)]

    assert [ada.end_of(order) for order in orders] == ["CONFIRMED"] * 20
    assert [[kind for kind, _ in shop.bank(order)] for order in orders] == [["charge"]] * 20


def test_f06_cancelled_while_nobody_knows_nothing_is_kept(shop: Shop, ada: Customer) -> None:
    """The charge got no answer and the customer cancels: it was made once, and the money goes back."""
    shop.control("bank", latency_ms=3_000)
    order = ada.place({"KETTLE": 1})
    shop.wait_until(lambda: shop.query("SELECT 1 FROM payments_payment WHERE order_id = %s", order) != [])

    assert ada.post(f"/api/v1/orders/{order}/cancel").status_code == 202
    shop.control("bank", latency_ms=0)

    assert ada.end_of(order) == "CANCELLED cancelled_by_customer"
    # The bank carries it out after we have stopped waiting: found by key, or by reconciliation when it came too late.
    shop.wait_until(lambda: shop.bank(order) == [("charge", 3995), ("refund", 3995)], seconds=120)
