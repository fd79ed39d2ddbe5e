"""F04: a worker killed in the middle of a joined batch leaves nothing of it behind; all of it is done later, once."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import psycopg
import pytest

from tests.running import running_shop
from tests.shop import Shop

ORDERS = 12
# In the middle of the batch: the places are taken, the handler waits for the stock that the test holds.
WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name = 'relay' AND wait_event_type = 'Lock' AND query LIKE '%%inventory_stock%%'
"""
ALIVE = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'relay'"
COMMANDS = "SELECT count(*), max(attempts) FROM outbox_delivery WHERE type = 'inventory.reserve'"


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """A running shop."""
    with running_shop(name="f04") as running:
        yield running


def count(shop: Shop, table: str, where: str = "TRUE") -> int:
    """Return how many rows there are."""
    ((many,),) = shop.query(f"SELECT count(*) FROM {table} WHERE {where}")
    return int(many)


def test_f04_a_batch_whose_worker_is_killed_is_done_later_and_once(shop: Shop) -> None:
    """All processes of the lane get SIGKILL while a batch is half done."""
    with psycopg.connect(shop.environment["DATABASE_URL"]) as holder:
        holder.execute("SELECT 1 FROM inventory_stock WHERE sku = 'TEA-GREEN' FOR UPDATE")
        buyers = [shop.customer() for _ in range(ORDERS)]
        ids = [buyer.place({"TEA-GREEN": 1}) for buyer in buyers]
        shop.wait_until(lambda: shop.query(WAITING) != [(0,)])
        shop.wait_until(lambda: count(shop, "sagas_sagainstance") == ORDERS)
        main = psutil.Process(shop.pids["relay"])
        for process in [main, *main.children(recursive=True)]:
            process.kill()
        holder.rollback()
        while shop.query(ALIVE) != [(0,)]:
            pass

    # Nothing has survived of what the batch had done, and nothing of what it was to do is gone.
    assert shop.query(COMMANDS) == [(ORDERS, 0)]
    assert count(shop, "inventory_reservation") == 0
    assert count(shop, "outbox_barrier") == 0
    assert count(shop, "outbox_message", "type = 'inventory.reserved'") == 0
    assert shop.query("SELECT reserved FROM inventory_stock WHERE sku = 'TEA-GREEN'") == [(0,)]

    assert "relay" in shop.tend()
    ends = [buyer.end_of(order_id) for buyer, order_id in zip(buyers, ids, strict=True)]

    assert ends == ["CONFIRMED"] * ORDERS
    assert count(shop, "inventory_reservation", "status = 'held'") == ORDERS
    assert count(shop, "outbox_message", "type = 'inventory.reserved'") == ORDERS
    assert shop.query("SELECT reserved FROM inventory_stock WHERE sku = 'TEA-GREEN'") == [(ORDERS,)]
    assert [shop.bank(order_id) for order_id in ids] == [[("charge", 690)]] * ORDERS
    shop.wait_until(lambda: count(shop, "outbox_delivery") == 0)
    assert shop.audit() == (0, [])
