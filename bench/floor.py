"""The floor: the same orders through a hand-written checkout in raw psycopg, one transaction per order.

What a careful monolith would do: lock the stock in SKU order, take it, reserve, record payment and shipment,
confirm. It does the business SQL of the product's four steps and nothing else: no messages, no saga, no retry.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from uuid import UUID

import psycopg

PROCESSES = 4

LINES = "SELECT sku, quantity FROM orders_orderline WHERE order_id = %s ORDER BY sku"
LOCK = "SELECT sku, on_hand FROM inventory_stock WHERE sku = ANY(%s) ORDER BY sku FOR UPDATE"
TAKE = """
UPDATE inventory_stock s SET on_hand = on_hand - u.quantity, reserved = reserved + u.quantity
FROM unnest(%s::text[], %s::int[]) AS u(sku, quantity) WHERE s.sku = u.sku
"""
HOLD = """
INSERT INTO inventory_reservation (order_id, sku, quantity)
SELECT %s, u.sku, u.quantity FROM unnest(%s::text[], %s::int[]) AS u(sku, quantity)
"""
PAY = """
INSERT INTO payments_payment (key, order_id, amount, currency, status, gateway, reference)
VALUES (%s, %s, %s, 'EUR', 'charged', 'floor', 'ch')
"""
SHIP = """
INSERT INTO shipping_shipment (key, order_id, status, carrier, tracking, address)
VALUES (%s, %s, 'created', 'floor', 'tr', '{}')
"""
CONFIRM = "UPDATE orders_order SET status = 'CONFIRMED', updated_at = now() WHERE id = %s AND status = 'PENDING'"


def run(*, database_url: str, orders: Sequence[tuple[UUID, int]]) -> float:
    """Check out the orders (id, amount) in `PROCESSES` processes; return orders per second."""
    context = multiprocessing.get_context("spawn")
    ready, go = context.Barrier(PROCESSES + 1), context.Barrier(PROCESSES + 1)
    workers = [
        context.Process(target=_work, args=(database_url, orders[i::PROCESSES], ready, go)) for i in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    ready.wait()
    began = time.perf_counter()
    go.wait()
    for worker in workers:
        worker.join()
    seconds = time.perf_counter() - began
    if any(worker.exitcode for worker in workers):
        raise RuntimeError("a process of the floor failed")
    return len(orders) / seconds


def _work(database_url: str, orders: Sequence[tuple[UUID, int]], ready: object, go: object) -> None:
    with psycopg.connect(database_url, autocommit=True, prepare_threshold=1) as connection:
        ready.wait()  # type: ignore[attr-defined]
        go.wait()  # type: ignore[attr-defined]
        for order_id, amount in orders:
            with connection.transaction():
                lines = connection.execute(LINES, [order_id]).fetchall()
                skus, quantities = [sku for sku, _ in lines], [quantity for _, quantity in lines]
                stock: dict[str, int] = dict(connection.execute(LOCK, [skus]).fetchall())
                if any(stock.get(sku, 0) < quantity for sku, quantity in lines):
                    raise RuntimeError(f"out of stock: {order_id}")
                connection.execute(TAKE, [skus, quantities])
                connection.execute(HOLD, [order_id, skus, quantities])
                connection.execute(PAY, [f"floor-{order_id}", order_id, amount])
                connection.execute(SHIP, [f"floor-{order_id}", order_id])
                connection.execute(CONFIRM, [order_id])
