"""What customers and operators live through, told over HTTP on the whole running product.

The bank, the carrier and the consistency audit have the last word: they keep books of their own.
"""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.shop import Shop


def steps_of(timeline: dict[str, Any]) -> dict[str, str]:
    [saga] = timeline["sagas"]
    return {step["step"]: step["status"] for step in saga["steps"]}


def test_an_order_is_accepted_at_once_and_then_confirmed(shop: Shop) -> None:
    ada = shop.customer()

    answer = ada.order({"TEA-GREEN": 2, "MUG-BLUE": 1})
    order = answer.json()
    assert (answer.status_code, order["status"]) == (202, "PENDING")
    assert order["total"] == {"amount": "25.80", "currency": "EUR"}
    assert answer.headers["Location"] == f"/api/v1/orders/{order['id']}"

    assert ada.end_of(order["id"]) == "CONFIRMED"
    assert shop.bank(order["id"]) == [("charge", 2580)]
    assert len(shop.carrier(order["id"])) == 1
    assert set(steps_of(ada.story_of(order["id"])).values()) == {"SUCCEEDED"}


def test_who_prefers_to_wait_gets_the_end_at_once(shop: Shop) -> None:
    answer = shop.customer().order({"TEA-GREEN": 1}, Prefer="wait=20")

    assert (answer.status_code, answer.json()["status"]) == (201, "CONFIRMED")


def test_a_declined_card_leaves_no_money_and_no_goods_behind(shop: Shop) -> None:
    ada, before = shop.customer(), shop.available("COFFEE-BEANS")

    order_id = ada.place({"COFFEE-BEANS": 3}, payment_method="pm_card_visa_chargeDeclined")

    assert ada.end_of(order_id) == "CANCELLED payment_declined"
    assert shop.bank(order_id) == []
    assert shop.carrier(order_id) == []
    assert shop.available("COFFEE-BEANS") == before


def test_a_refused_parcel_gives_the_money_back(shop: Shop) -> None:
    ada = shop.customer()

    order_id = ada.place({"COFFEE-GROUND": 1}, country="AQ")

    assert ada.end_of(order_id) == "CANCELLED shipping_refused"
    assert shop.bank(order_id) == [("charge", 980), ("refund", 980)]
    assert steps_of(ada.story_of(order_id)) == {
        "reserve-inventory": "COMPENSATED",
        "charge-payment": "COMPENSATED",
        "create-shipment": "FAILED",
        "confirm-order": "PENDING",
        "close": "SUCCEEDED",
    }


@pytest.mark.parametrize("lost", ["pm_sim_timeout_charged", "pm_sim_timeout_not_charged"])
def test_a_bank_that_does_not_answer_charges_once(shop: Shop, lost: str) -> None:
    ada = shop.customer()

    order_id = ada.place({"TEA-MINT": 1}, payment_method=lost)

    assert ada.end_of(order_id) == "CONFIRMED"
    assert shop.bank(order_id) == [("charge", 420)]


def test_an_order_is_cancelled_in_time_and_returned_later(shop: Shop) -> None:
    ada = shop.customer()
    hasty = ada.place({"MUG-BLUE": 1}, payment_method="pm_sim_timeout_not_charged")
    assert ada.post(f"/api/v1/orders/{hasty}/cancel").status_code == 202
    bought = ada.place({"GRINDER": 1})
    assert ada.end_of(bought) == "CONFIRMED"

    too_late = ada.post(f"/api/v1/orders/{bought}/cancel")
    assert (too_late.status_code, too_late.json()["code"]) == (409, "not-cancellable")
    assert ada.post(f"/api/v1/orders/{bought}/returns").status_code == 202

    assert ada.end_of(bought) == "RETURNED"
    assert shop.bank(bought) == [("charge", 5400), ("refund", 5400)]
    assert ada.end_of(hasty) == "CANCELLED cancelled_by_customer"
    assert sum(amount if kind == "charge" else -amount for kind, amount in shop.bank(hasty)) == 0


def test_twenty_clicks_with_one_key_are_one_order(shop: Shop) -> None:
    ada = shop.customer()

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: ada.order({"KETTLE": 1}, key="one-intent"), range(20)))

    codes = Counter(answer.status_code for answer in answers)
    assert set(codes) <= {202, 409}
    assert codes[202] >= 1
    assert {answer.json()["code"] for answer in answers if answer.is_error} <= {"idempotency-key-in-flight"}
    assert len({answer.content for answer in answers if answer.is_success}) == 1
    [order_id] = ada.orders()
    assert ada.end_of(order_id) == "CONFIRMED"
    assert ada.order({"KETTLE": 1}, key="one-intent").content == next(a.content for a in answers if a.is_success)
    assert shop.bank(order_id) == [("charge", 3995)]


def test_the_last_pieces_go_to_exactly_so_many(shop: Shop) -> None:
    customers = [shop.customer() for _ in range(6)]
    pieces = shop.available("POT-LIMITED")

    with ThreadPoolExecutor(6) as pool:
        ids = list(pool.map(lambda customer: customer.place({"POT-LIMITED": 1}), customers))
    ends = [customer.end_of(order_id) for customer, order_id in zip(customers, ids, strict=True)]

    assert Counter(ends) == {"CONFIRMED": pieces, "CANCELLED out_of_stock": 6 - pieces}
    assert shop.available("POT-LIMITED") == 0


def test_a_refund_that_is_refused_for_good_waits_for_a_person(shop: Shop) -> None:
    ada = shop.customer()
    order_id = ada.place({"MUG-WHITE": 1}, payment_method="pm_sim_refund_refused", country="AQ")
    shop.wait_until(lambda: ada.story_of(order_id)["sagas"][0]["status"] == "SUSPENDED")
    assert ada.status_of(order_id) == "PENDING"

    resolved = shop.manage("saga_resolve", order_id, "--reason", "paid by hand", "--reference", "BANK-7")

    assert resolved.returncode == 0, resolved.stderr
    assert ada.end_of(order_id) == "CANCELLED shipping_refused"
    acts = [e for e in ada.story_of(order_id)["entries"] if e["kind"] == "operator"]
    assert [(act["what"], act["reason"], act["reference"]) for act in acts] == [("resolve", "paid by hand", "BANK-7")]


def test_workers_killed_in_the_middle_lose_nothing_and_do_nothing_twice(shop: Shop) -> None:
    customers = [shop.customer() for _ in range(10)]
    kills: dict[int, Callable[[], None]] = {
        20: lambda: shop.kill_child("relay"),
        40: lambda: shop.kill_child("effects"),
        60: lambda: shop.kill("relay"),
        80: lambda: shop.kill("effects"),
    }
    placed = []
    for number in range(100):
        kills.get(number, int)()
        customer = customers[number % 10]
        country = "AQ" if number % 4 == 0 else "DE"
        placed.append((customer, country, customer.place({"FILTER-100": 1 + number // 10}, country=country)))

    ends = Counter((country, customer.end_of(order_id)) for customer, country, order_id in placed)

    assert ends == {("DE", "CONFIRMED"): 75, ("AQ", "CANCELLED shipping_refused"): 25}
    for number, (_, country, order_id) in enumerate(placed):
        total = 349 * (1 + number // 10)
        assert shop.bank(order_id) == [("charge", total), *([("refund", total)] if country == "AQ" else [])]
    assert shop.audit() == (0, [])
