"""I2, stock: every piece that was loaded is on hand or reserved, and whatever is reserved is held for an order.

Goods stay reserved when their order is confirmed: inventory is not told when a parcel leaves the house, so pieces of
a confirmed order count as reserved, and "shipped" is always zero.
"""

from __future__ import annotations

from config.audit.checks import Check

CHECKS = (
    Check(
        "I2",
        "on hand and reserved make what was loaded",
        "SELECT sku, on_hand || ' + ' || reserved || ' is not ' || loaded FROM inventory_stock "
        "WHERE on_hand + reserved <> loaded OR on_hand < 0 OR reserved < 0",
    ),
    Check(
        "I2",
        "what is reserved is held for orders",
        "SELECT coalesce(s.sku, r.sku), 'reserved ' || coalesce(s.reserved, 0) || ', held ' || coalesce(r.held, 0) "
        "FROM inventory_stock s FULL JOIN (SELECT sku, sum(quantity) AS held FROM inventory_reservation "
        "WHERE status = 'held' GROUP BY sku) r ON r.sku = s.sku WHERE coalesce(s.reserved, 0) <> coalesce(r.held, 0)",
        whole="inventory_reservation",
    ),
    Check(
        "I2",
        "stock is held only for running and confirmed orders",
        "SELECT j.id, j.status || ' and still holds ' || string_agg(r.sku, ', ' ORDER BY r.sku) FROM audit_judged j "
        "JOIN inventory_reservation r ON r.order_id = j.id AND r.status = 'held' "
        "WHERE j.status <> 'CONFIRMED' GROUP BY j.id, j.status",
    ),
    Check(
        "I2",
        "every reservation belongs to an order",
        "SELECT s.key, 'inventory holds ' || r.sku || ' for it' FROM audit_scope s "
        "JOIN inventory_reservation r ON r.order_id = s.key AND r.status = 'held' "
        "LEFT JOIN orders_order o ON o.id = s.key WHERE o.id IS NULL",
    ),
    Check(
        "I2",
        "a confirmed order holds its lines",
        "SELECT j.id, l.sku || ': ordered ' || l.quantity || ', holds ' || coalesce(r.quantity, 0) "
        "FROM audit_judged j JOIN orders_orderline l ON l.order_id = j.id "
        "LEFT JOIN inventory_reservation r ON r.order_id = j.id AND r.sku = l.sku AND r.status = 'held' "
        "WHERE j.status = 'CONFIRMED' AND r.quantity IS DISTINCT FROM l.quantity",
    ),
)
