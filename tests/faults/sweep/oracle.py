"""The verdict on one order, from outside: what bank and carrier have in their ledgers against what our tables say."""

from __future__ import annotations

from typing import Any

import psycopg

from tests.shop import Shop

_OURS = """
SELECT o.amount,
       (SELECT coalesce(sum(amount), 0) FROM payments_payment WHERE order_id = o.id AND status = 'charged')::bigint,
       (SELECT coalesce(sum(amount), 0) FROM payments_refund WHERE order_id = o.id)::bigint,
       (SELECT count(*) FROM shipping_shipment WHERE order_id = o.id AND status = 'created'),
       (SELECT coalesce(array_agg((sku, quantity)::text ORDER BY sku), '{}') FROM orders_orderline
        WHERE order_id = o.id),
       (SELECT coalesce(array_agg((sku, quantity)::text ORDER BY sku), '{}') FROM inventory_reservation
        WHERE order_id = o.id AND status = 'held'),
       (SELECT coalesce(array_agg(name || ' ' || status ORDER BY name), '{}') FROM sagas_sagainstance
        WHERE key = o.id),
       (SELECT count(*) FROM sagas_case WHERE key = o.id),
       (SELECT count(*) FROM outbox_delivery WHERE ordering_key = o.id)
FROM orders_order o WHERE o.id = %s
"""
_SAGAS = {
    "CONFIRMED": ["order-fulfilment COMPLETED"],
    "CANCELLED": ["order-fulfilment COMPENSATED"],
    "RETURNED": ["order-fulfilment COMPLETED", "order-return COMPLETED"],
}


def judge(*, shop: Shop, database: psycopg.Connection[Any], order_id: str, end: str) -> list[str]:
    """Return what is wrong with an order that has ended so; nothing if all books agree."""
    row = database.execute(_OURS, [order_id]).fetchone()
    assert row is not None
    total, kept_by_us, refunded_by_us, parcels, lines, held, sagas, cases, deliveries = row
    status = end.split(maxsplit=1)[0]
    bank, carrier = shop.bank(order_id), shop.carrier(order_id)
    charges = [amount for kind, amount in bank if kind == "charge"]
    refunds = [amount for kind, amount in bank if kind == "refund"]
    alive = carrier.count("shipment") - carrier.count("cancellation")
    is_confirmed = status == "CONFIRMED"
    kept = total if is_confirmed else 0
    expected = {
        "charges at the bank": (len(charges) <= 1, charges),
        "money kept by the bank": (sum(charges) - sum(refunds) == kept, [bank, kept]),
        "money kept as payments says": (kept_by_us == kept, [kept_by_us, kept]),
        "refunds as payments says": (refunded_by_us == sum(refunds), [refunded_by_us, refunds]),
        "parcels of a confirmed order": (not is_confirmed or alive == parcels == 1, [carrier, parcels]),
        "parcels of a cancelled order": (status != "CANCELLED" or alive == parcels == 0, [carrier, parcels]),
        "pieces held": (held == (lines if is_confirmed else []), [held, lines]),
        "sagas": (sagas == _SAGAS.get(status), sagas),
        "cases": (cases == 0, cases),
        "deliveries left": (deliveries == 0, deliveries),
    }
    return [f"{what}: {seen}" for what, (is_right, seen) in expected.items() if not is_right]
