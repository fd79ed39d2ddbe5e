"""F19: double clicks. However often one intent is sent, at once or again, there is one order and nobody sees a 5xx.

Real web processes over HTTP. DOUBLE_CLICK_KEYS sets the number of intents of the flood.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import httpx
import pytest

from tests.faults.conftest import FIGURES
from tests.running import running_shop
from tests.shop import Customer, Shop

KEYS = int(os.environ.get("DOUBLE_CLICK_KEYS", "250"))
CLICKS = 20
CUSTOMERS = 50
# Intents that are clicked at the same moment: 80 requests wait for 16 threads of the web server.
INTENTS_AT_ONCE = 4


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """Start a shop; its books must be in order at the end."""
    with running_shop(name="double_clicks", customers=CUSTOMERS + 20) as shop:
        yield shop
        assert shop.audit() == (0, [])


def click(customer: Customer, items: dict[str, int], key: str | None = None) -> list[httpx.Response]:
    """Send the same checkout from twenty threads at once; without a key each has its own."""
    with ThreadPoolExecutor(CLICKS) as hands:
        clicks = [hands.submit(customer.order, items, key=key) for _ in range(CLICKS)]
        return [one.result() for one in clicks]


def verdict(response: httpx.Response) -> str:
    """Return what an answer says."""
    if response.status_code == 202:
        return "replayed" if response.headers.get("Idempotency-Replayed") else "placed"
    return str(response.json()["code"])


def test_f19_the_same_key_twenty_times_at_once_is_one_order(shop: Shop) -> None:
    """Who comes while the first is being answered gets a 409 with Retry-After at once; all others get its bytes."""
    customer = shop.customer()

    answers = click(customer, {"TEA-MINT": 1}, "the-same")

    verdicts = Counter(map(verdict, answers))
    assert verdicts["placed"] == 1
    assert verdicts.keys() <= {"placed", "replayed", "idempotency-key-in-flight"}
    assert len({answer.content for answer in answers if answer.status_code == 202}) == 1
    assert all(answer.headers["Retry-After"] == "1" for answer in answers if answer.status_code == 409)
    again = customer.order({"TEA-MINT": 1}, key="the-same")
    assert (verdict(again), len(customer.orders())) == ("replayed", 1)


def test_f19_other_keys_with_the_same_items_within_a_second_are_one_order(shop: Shop) -> None:
    """The second guard works without keys: 409, naming the first order."""
    customer = shop.customer()

    answers = click(customer, {"TEA-MINT": 2})

    placed = [answer for answer in answers if answer.status_code == 202]
    refused = [answer.json() for answer in answers if answer.status_code == 409]
    # A busy machine may need more than a second for twenty requests: then the guard is over, and rightly so.
    assert len(placed) + len(refused) == CLICKS
    assert {problem["code"] for problem in refused} == {"duplicate-order"}
    assert {problem["order"]["id"] for problem in refused} <= {answer.json()["id"] for answer in placed}
    moments = [
        moment for (moment,) in shop.query(
            "SELECT placed_at FROM orders_order WHERE id::text = ANY(%s) ORDER BY 1",
            [answer.json()["id"] for answer in placed],
        )
    ]  # fmt: skip
    assert all((later - earlier).total_seconds() >= 1 for earlier, later in pairwise(moments))


def test_f19_the_same_key_with_another_body_is_refused_and_changes_nothing(shop: Shop) -> None:
    """422, whatever is asked for; the first answer stays what it was."""
    customer = shop.customer()
    first = customer.order({"TEA-MINT": 3}, key="reused")

    answers = click(customer, {"TEA-MINT": 4}, "reused")

    assert {(answer.status_code, verdict(answer)) for answer in answers} <= {
        (422, "idempotency-key-reused"),
        (409, "idempotency-key-in-flight"),
    }
    assert verdict(customer.order({"TEA-MINT": 4}, key="reused")) == "idempotency-key-reused"
    assert customer.order({"TEA-MINT": 3}, key="reused").content == first.content
    assert len(customer.orders()) == 1


def test_f19_the_key_of_another_customer_is_another_key(shop: Shop) -> None:
    """Ten customers with one key have an order each, and none learns anything of another's."""
    customers = [shop.customer() for _ in range(10)]

    with ThreadPoolExecutor(len(customers)) as hands:
        answers = list(hands.map(lambda one: one.order({"TEA-MINT": 5}, key="everybody's"), customers))

    assert Counter(map(verdict, answers)) == {"placed": len(customers)}
    assert len({answer.json()["id"] for answer in answers}) == len(customers)
    assert [customer.orders() for customer in customers] == [[answer.json()["id"]] for answer in answers]


def test_f19_many_keys_twenty_times_each_at_once_are_as_many_orders(
    shop: Shop, record_property: Callable[[str, object], None]
) -> None:
    """Each intent makes one order; every click gets its bytes or is told to wait; there is no 5xx at all."""
    customers = [shop.customer() for _ in range(CUSTOMERS)]

    def intend(number: int) -> tuple[Counter[str], set[str]]:
        customer = customers[number % CUSTOMERS]
        # No two intents of one customer are alike.
        answers = click(customer, {"TEA-GREEN": 1 + number // CUSTOMERS}, f"intent-{number}")
        return Counter(map(verdict, answers)), {a.json()["id"] for a in answers if a.status_code == 202}

    begun = time.monotonic()
    with ThreadPoolExecutor(INTENTS_AT_ONCE) as intents:
        results = list(intents.map(intend, range(KEYS)))
    took = time.monotonic() - begun

    total = sum((verdicts for verdicts, _ in results), Counter[str]())
    record_property(
        FIGURES,
        f"{KEYS} keys x {CLICKS} clicks: {dict(total)}, {KEYS * CLICKS / took:.0f} requests a second over {took:.0f} s",
    )
    assert total["placed"] == KEYS
    assert total.keys() <= {"placed", "replayed", "idempotency-key-in-flight"}
    assert total.total() == KEYS * CLICKS
    ids = [order_id for _, answered in results for order_id in answered]
    assert len(ids) == len(set(ids)) == KEYS
    [(orders, keys)] = shop.query(
        "SELECT (SELECT count(*) FROM orders_order WHERE id::text = ANY(%s)),"
        " (SELECT count(*) FROM outbox_idempotencykey WHERE key LIKE 'intent-%%')",
        ids,
    )
    assert (orders, keys) == (KEYS, KEYS)
    assert shop.query("SELECT count(*) FROM orders_order o JOIN orders_orderline l ON l.order_id = o.id"
                      " WHERE l.sku = 'TEA-GREEN'") == [(KEYS,)]  # fmt: skip

    def are_settled() -> bool:
        return shop.query("SELECT count(*) FROM orders_order WHERE status = 'PENDING'") == [(0,)]

    shop.wait_until(are_settled, seconds=180)
