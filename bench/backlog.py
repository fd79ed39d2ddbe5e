"""The prepared orders: accepted, priced, and said in the outbox; nothing has happened to them yet."""

from __future__ import annotations

import random
from uuid import UUID

from django.db import connection, transaction
from uuid_utils.compat import uuid7

import orders.contracts as orders
from outbox.publishing import Outgoing, publish

SKUS = 200
AMOUNT = 2_000
# Orders written with one transaction: as large as is comfortable.
CHUNK = 1_000
ADDRESS = orders.Address(name="Ada", line1="1 Way", city="Berlin", postal_code="10115", country="DE")


def stock_up() -> None:
    """Put plenty of every SKU on the shelf."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO inventory_product (sku, name, price, currency, listing_id) "
            "SELECT 'sku-' || i, 'Thing ' || i, 1000, 'EUR', gen_random_uuid() FROM generate_series(1, %s) i "
            "ON CONFLICT DO NOTHING",
            [SKUS],
        )
        cursor.execute(
            "INSERT INTO inventory_stock (sku, on_hand, loaded) "
            "SELECT 'sku-' || i, 100000000, 100000000 FROM generate_series(1, %s) i ON CONFLICT DO NOTHING",
            [SKUS],
        )
        cursor.execute(
            "INSERT INTO orders_price (sku, name, amount, currency) "
            "SELECT 'sku-' || i, 'Thing ' || i, 1000, 'EUR' FROM generate_series(1, %s) i ON CONFLICT DO NOTHING",
            [SKUS],
        )


def prepare(*, count: int, told: bool) -> list[tuple[UUID, int]]:
    """Write pending orders of two lines each, and say so in the outbox if `told`. Returns (id, amount) of each."""
    made: list[tuple[UUID, int]] = []
    for begin in range(0, count, CHUNK):
        made += _prepare(min(CHUNK, count - begin), told=told)
    tidy()
    return made


def tidy() -> None:
    """Leave no vacuum and no checkpoint of the last measurement to the next one."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE)")
        cursor.execute("CHECKPOINT")


def _prepare(count: int, *, told: bool) -> list[tuple[UUID, int]]:
    chooser = random.Random(count)
    half = SKUS // 2
    ids = [uuid7() for _ in range(count)]
    lines = [(f"sku-{chooser.randint(1, half)}", f"sku-{chooser.randint(half + 1, SKUS)}") for _ in ids]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO orders_order "
            "(id, customer_id, amount, currency, payment_method, shipping_address, items_hash, guard_window) "
            "SELECT x, n, %s, 'EUR', 'pm_card_visa', '{}', hashtextextended(x::text, 0), "
            "tstzrange(now(), now() + interval '1 s') "
            "FROM unnest(%b::uuid[]) WITH ORDINALITY AS u(x, n)",
            [AMOUNT, ids],
        )
        for position in (0, 1):
            cursor.execute(
                "INSERT INTO orders_orderline (order_id, position, sku, name, quantity, unit_price) "
                "SELECT x, %s, sku, 'Thing', 1, 1000 FROM unnest(%b::uuid[], %b::text[]) AS u(x, sku)",
                [position, ids, [pair[position] for pair in lines]],
            )
        if told:
            publish([_created(order_id, pair) for order_id, pair in zip(ids, lines, strict=True)])
    return [(order_id, AMOUNT) for order_id in ids]


def _created(order_id: UUID, skus: tuple[str, str]) -> Outgoing:
    event = orders.OrderCreated(
        order_id=order_id,
        customer_id=1,
        lines=tuple(orders.Line(sku=sku, quantity=1) for sku in skus),
        amount=AMOUNT,
        currency="EUR",
        payment_method="pm_card_visa",
        address=ADDRESS,
    )
    trace = f"00-{order_id.hex}-{order_id.hex[:16]}-01"
    return Outgoing(data=event, source="orders", subject=order_id, traceparent=trace)
