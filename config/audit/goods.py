"""I3, goods: one parcel for an order that was confirmed, none for a cancelled one, and none that nobody paid for."""

from __future__ import annotations

from config.audit.checks import IN_A_PERSONS_HANDS, IS_LATE, Check

# The parcels of an order at the carrier that were not called back. A returned order keeps its parcel: it was there.
_LIVE = """
live AS (
    SELECT order_key, order_id,
           count(*) FILTER (WHERE kind = 'shipment') - count(*) FILTER (WHERE kind = 'cancellation') AS parcels,
           max(at) FILTER (WHERE kind = 'shipment') AS sent_at
    FROM audit_ledger WHERE source = 'carrier' GROUP BY order_key, order_id
)"""

CHECKS = (
    Check(
        "I3",
        "one live shipment for an order that was confirmed, none for a cancelled one",
        f"WITH {_LIVE} "
        "SELECT j.id, j.status || ' with ' || coalesce(l.parcels, 0) || ' live shipments at the carrier' "
        "FROM audit_judged j LEFT JOIN live l ON l.order_key = j.id "
        "WHERE coalesce(l.parcels, 0) <> CASE WHEN j.status = 'CANCELLED' THEN 0 ELSE 1 END "
        f"AND NOT (j.status = 'CANCELLED' AND coalesce(l.sent_at, '-infinity') {IS_LATE})",
        needs_ledgers=True,
    ),
    Check(
        "I3",
        "every live shipment belongs to an order",
        f"WITH {_LIVE} SELECT l.order_id, 'the carrier has ' || l.parcels || ' live shipments' FROM live l "
        "LEFT JOIN orders_order o ON o.id = l.order_key WHERE o.id IS NULL AND l.parcels > 0",
        needs_ledgers=True,
    ),
    Check(
        "I3",
        "a live shipment only for a charged order",
        f"WITH {_LIVE} SELECT o.id, o.status || ', a live shipment, and never charged' FROM live l "
        "JOIN orders_order o ON o.id = l.order_key WHERE l.parcels > 0 "
        "AND NOT EXISTS (SELECT FROM audit_ledger b WHERE b.source = 'bank' AND b.kind = 'charge' "
        "AND b.order_key = l.order_key) "
        f"AND NOT {IN_A_PERSONS_HANDS.format(key='o.id')}",
        needs_ledgers=True,
    ),
    Check(
        "I3",
        "shipping agrees with the order",
        "WITH ours AS (SELECT s.order_id, count(*) AS parcels FROM audit_judged j "
        "JOIN shipping_shipment s ON s.order_id = j.id WHERE s.status = 'created' GROUP BY s.order_id) "
        "SELECT j.id, j.status || ' with ' || coalesce(s.parcels, 0) || ' shipments' FROM audit_judged j "
        "LEFT JOIN ours s ON s.order_id = j.id "
        "WHERE coalesce(s.parcels, 0) <> CASE WHEN j.status = 'CANCELLED' THEN 0 ELSE 1 END",
    ),
    Check(
        "I3",
        "every shipment belongs to an order",
        "SELECT s.key, 'shipping has ' || p.key || ' ' || p.status FROM audit_scope s "
        "JOIN shipping_shipment p ON p.order_id = s.key LEFT JOIN orders_order o ON o.id = s.key WHERE o.id IS NULL",
    ),
    Check(
        "I3",
        "every live shipment at the carrier is in shipping",
        "SELECT j.id, 'the carrier has ' || l.key || ', shipping has ' || coalesce(s.status, 'nothing') "
        "FROM audit_judged j JOIN audit_ledger l ON l.order_key = j.id AND l.source = 'carrier' "
        "AND l.kind = 'shipment' LEFT JOIN shipping_shipment s ON s.key = l.key "
        "WHERE s.status IS DISTINCT FROM 'created' AND NOT EXISTS (SELECT FROM audit_ledger c "
        "WHERE c.source = 'carrier' AND c.kind = 'cancellation' AND c.key = l.key) "
        f"AND NOT (j.status = 'CANCELLED' AND l.at {IS_LATE})",
        needs_ledgers=True,
    ),
    Check(
        "I3",
        "every live shipment in shipping is at the carrier",
        "SELECT j.id, 'shipping has ' || s.key || ', the carrier has ' || coalesce(max(l.kind), 'nothing') || ' last' "
        "FROM audit_judged j JOIN shipping_shipment s ON s.order_id = j.id AND s.status = 'created' "
        "LEFT JOIN audit_ledger l ON l.source = 'carrier' AND l.key = s.key GROUP BY j.id, s.key "
        "HAVING count(*) FILTER (WHERE l.kind = 'shipment') <> 1 "
        "OR count(*) FILTER (WHERE l.kind = 'cancellation') > 0",
        needs_ledgers=True,
    ),
    Check(
        "I3",
        "no shipment stays unknown",
        "SELECT j.id, j.status || ', nobody knows what became of shipment ' || s.key FROM audit_judged j "
        "JOIN shipping_shipment s ON s.order_id = j.id AND s.status = 'unknown' "
        f"WHERE NOT s.updated_at {IS_LATE}",
    ),
)
