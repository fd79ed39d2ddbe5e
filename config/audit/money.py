"""I1, money: the bank's ledger, payments and the order say the same, in sum and key by key, and both ways."""

from __future__ import annotations

from config.audit.checks import IS_LATE, Check

_BANK = """
bank AS (
    SELECT order_key,
           sum(CASE kind WHEN 'charge' THEN amount ELSE -amount END) AS kept,
           max(at) FILTER (WHERE kind = 'charge') AS charged_at
    FROM audit_ledger WHERE source = 'bank' GROUP BY order_key
)"""

CHECKS = (
    Check(
        "I1",
        "no order is charged twice",
        "SELECT order_id, count(*) || ' charges: ' || string_agg(key, ', ' ORDER BY at) FROM audit_ledger "
        "WHERE source = 'bank' AND kind = 'charge' GROUP BY order_id HAVING count(*) > 1",
        needs_ledgers=True,
    ),
    Check(
        "I1",
        "every charge belongs to an order",
        "SELECT l.order_id, 'the bank keeps ' || sum(CASE l.kind WHEN 'charge' THEN l.amount ELSE -l.amount END) "
        "FROM audit_ledger l LEFT JOIN orders_order o ON o.id = l.order_key "
        "WHERE l.source = 'bank' AND o.id IS NULL GROUP BY l.order_id "
        "HAVING sum(CASE l.kind WHEN 'charge' THEN l.amount ELSE -l.amount END) <> 0",
        needs_ledgers=True,
    ),
    Check(
        "I1",
        "the bank keeps the total of a confirmed order and nothing of another",
        f"WITH {_BANK} "
        "SELECT j.id, j.status || ', total ' || j.amount || ', the bank keeps ' || coalesce(b.kept, 0) "
        "FROM audit_judged j LEFT JOIN bank b ON b.order_key = j.id "
        "WHERE coalesce(b.kept, 0) <> CASE WHEN j.status = 'CONFIRMED' THEN j.amount ELSE 0 END "
        f"AND NOT (j.status <> 'CONFIRMED' AND coalesce(b.charged_at, '-infinity') {IS_LATE})",
        needs_ledgers=True,
    ),
    Check(
        "I1",
        "bank and payments use the order's currency",
        "SELECT j.id, 'in ' || j.currency || ', the bank has ' || l.key || ' in ' || l.currency FROM audit_judged j "
        "JOIN audit_ledger l ON l.order_key = j.id AND l.source = 'bank' WHERE l.currency <> j.currency "
        "UNION ALL SELECT j.id, 'in ' || j.currency || ', payments has ' || p.key || ' in ' || p.currency "
        "FROM audit_judged j JOIN payments_payment p ON p.order_id = j.id WHERE p.currency <> j.currency",
        needs_ledgers=True,
    ),
    Check(
        "I1",
        "payments agrees with the order",
        "WITH ours AS (SELECT p.order_id, sum(p.amount) AS kept FROM audit_judged j "
        "JOIN payments_payment p ON p.order_id = j.id WHERE p.status = 'charged' GROUP BY p.order_id) "
        "SELECT j.id, j.status || ', total ' || j.amount || ', payments keeps ' || coalesce(p.kept, 0) "
        "FROM audit_judged j LEFT JOIN ours p ON p.order_id = j.id "
        "WHERE coalesce(p.kept, 0) <> CASE WHEN j.status = 'CONFIRMED' THEN j.amount ELSE 0 END",
    ),
    Check(
        "I1",
        "every payment belongs to an order",
        "SELECT s.key, 'payments has ' || p.key || ' ' || p.status FROM audit_scope s "
        "JOIN payments_payment p ON p.order_id = s.key LEFT JOIN orders_order o ON o.id = s.key WHERE o.id IS NULL",
    ),
    Check(
        "I1",
        "every charge at the bank is in payments",
        "SELECT j.id, 'the bank charged ' || l.amount || ' under ' || l.key || ', payments has ' || "
        "coalesce(p.status || ' ' || p.amount, 'nothing') FROM audit_judged j "
        "JOIN audit_ledger l ON l.order_key = j.id AND l.source = 'bank' AND l.kind = 'charge' "
        "LEFT JOIN payments_payment p ON p.key = l.key "
        "WHERE (p.key IS NULL OR p.status NOT IN ('charged', 'refunded') OR p.amount <> l.amount) "
        f"AND NOT (j.status <> 'CONFIRMED' AND l.at {IS_LATE})",
        needs_ledgers=True,
    ),
    Check(
        "I1",
        "every charge in payments is at the bank",
        "SELECT j.id, 'payments has ' || p.key || ' ' || p.status || ', the bank has nothing' FROM audit_judged j "
        "JOIN payments_payment p ON p.order_id = j.id AND p.status IN ('charged', 'refunded') "
        "LEFT JOIN audit_ledger l ON l.source = 'bank' AND l.kind = 'charge' AND l.key = p.key WHERE l.key IS NULL",
        needs_ledgers=True,
    ),
    Check(
        "I1",
        "every refund at the bank is in payments",
        "SELECT j.id, 'the bank gave back ' || l.amount || ' under ' || l.key || ', payments has ' || "
        "coalesce(r.amount::text, 'nothing') FROM audit_judged j "
        "JOIN audit_ledger l ON l.order_key = j.id AND l.source = 'bank' AND l.kind = 'refund' "
        "LEFT JOIN payments_refund r ON r.key = l.key WHERE r.amount IS DISTINCT FROM l.amount",
        needs_ledgers=True,
    ),
    Check(
        "I1",
        "every refund in payments is at the bank",
        "SELECT j.id, 'payments gave back ' || r.amount || ' under ' || r.key || ', the bank has nothing' "
        "FROM audit_judged j JOIN payments_refund r ON r.order_id = j.id "
        "LEFT JOIN audit_ledger l ON l.source = 'bank' AND l.kind = 'refund' AND l.key = r.key WHERE l.key IS NULL",
        needs_ledgers=True,
    ),
    Check(
        "I1",
        "every refund is of a charge that is given back",
        "SELECT j.id, 'the charge of refund ' || r.key || ' is ' || p.status FROM audit_judged j "
        "JOIN payments_refund r ON r.order_id = j.id JOIN payments_payment p ON p.key = r.charge_key "
        "WHERE p.status <> 'refunded' OR p.amount <> r.amount",
    ),
    Check(
        "I1",
        "no charge stays unknown",
        "SELECT j.id, j.status || ', nobody knows what became of charge ' || p.key FROM audit_judged j "
        "JOIN payments_payment p ON p.order_id = j.id AND p.status = 'unknown' "
        f"WHERE NOT p.updated_at {IS_LATE}",
    ),
)
