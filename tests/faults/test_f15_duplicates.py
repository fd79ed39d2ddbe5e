"""F15: every message is delivered twice and every webhook comes three times: the same end, counted in metrics."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg
import pytest

from tests.running import running_shop
from tests.shop import Customer, Shop

# Whatever is put into the queue is put there twice: the outbox itself hands everything over two times.
TWICE = """
CREATE FUNCTION deliver_twice() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO outbox_delivery (message_id, message_time, destination, lane, kind, type, ordering_key)
    VALUES (NEW.message_id, NEW.message_time, NEW.destination, NEW.lane, NEW.kind, NEW.type, NEW.ordering_key);
    RETURN NULL;
END $$;
CREATE TRIGGER deliver_twice AFTER INSERT ON outbox_delivery
FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION deliver_twice();
"""
ORDERS = [
    ({"MUG-WHITE": 1}, {}, "CONFIRMED", ["charge"], ["shipment"]),
    ({"MUG-WHITE": 2}, {"payment_method": "pm_card_visa_chargeDeclined"}, "CANCELLED payment_declined", [], []),
    ({"MUG-WHITE": 3}, {"payment_method": "pm_sim_timeout_charged"}, "CONFIRMED", ["charge"], ["shipment"]),
    ({"MUG-WHITE": 4}, {"country": "AQ"}, "CANCELLED shipping_refused", ["charge", "refund"], []),
]


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """Start a shop in which everything comes more than once."""
    with running_shop(name="duplicates", RELAY_LEASE_SECONDS="1", GATEWAY_TIMEOUT_SECONDS="0.5") as shop:
        with psycopg.connect(shop.environment["DATABASE_URL"], autocommit=True) as connection:
            connection.execute(TWICE)
        shop.control("bank", webhook_copies=3)
        yield shop


def metric(shop: Shop, name: str, *labels: str) -> float:
    """Return the sum of a counter over all processes and all other labels."""
    page = shop.http.get("/metrics").raise_for_status().text
    lines = [line for line in page.splitlines() if re.match(rf"{name}[{{ ]", line)]
    return sum(float(line.split()[-1]) for line in lines if all(label in line for label in labels))


def test_f15_everything_twice_and_webhooks_three_times_end_the_same(shop: Shop) -> None:
    """Orders end as they would, nothing is charged, sent or undone twice, and the duplicates are counted."""
    placed: list[tuple[Customer, str]] = []
    for items, options, *_ in ORDERS:
        customer = shop.customer()
        placed.append((customer, customer.place(items, **options)))

    ends = [customer.end_of(order_id) for customer, order_id in placed]
    returned = placed[0][0].post(f"/api/v1/orders/{placed[0][1]}/returns")
    ends[0] = f"{ends[0]}, {placed[0][0].end_of(placed[0][1])}"
    shop.wait_until(lambda: shop.query("SELECT 1 FROM outbox_delivery LIMIT 1") == [])
    shop.wait_until(lambda: metric(shop, "webhooks_total", 'outcome="applied"') >= 5)

    assert returned.status_code == 202
    assert ends == ["CONFIRMED, RETURNED", *(end for _, _, end, _, _ in ORDERS[1:])]
    banked = [[kind for kind, _ in shop.bank(order_id)] for _, order_id in placed]
    assert banked == [["charge", "refund"], *(bank for *_, bank, _ in ORDERS[1:])]
    assert [shop.carrier(order_id) for _, order_id in placed] == [carrier for *_, carrier in ORDERS]
    assert shop.query("SELECT count(*) FROM sagas_case") == [(0,)]
    assert shop.audit() == (0, [])

    told = shop.query("SELECT status, count(*) FROM payments_webhookevent GROUP BY status")
    assert told == [("applied", 5)]
    # A webhook counts as repeated when its bank sends it again after a receiver that was too slow, too.
    assert metric(shop, "webhooks_total", 'outcome="received"') == 5
    assert metric(shop, "webhooks_total", 'outcome="duplicate"') >= 10
    messages = shop.query("SELECT count(*) FROM outbox_message WHERE kind = 'command'")[0][0]
    assert metric(shop, "inbox_duplicates_total") >= messages
