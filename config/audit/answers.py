"""I6, answers: what a client was told is so: his order exists, as he was told, and stands as its saga does."""

from __future__ import annotations

from config.audit.checks import Check

# Answers to a checkout that made an order. Those that are kept are found by when they expire (index:
# outbox_idempotencykey_answers); of the others, which only a look at everything judges, just the address is left.
_ANSWERS = """
answers AS (
    SELECT k.id, k.customer_id, k.key, k.location, k.body, k.created_at,
           CASE WHEN right(k.location, 36) ~ '^[0-9a-f-]{36}$' THEN right(k.location, 36)::uuid END AS order_id
    FROM outbox_idempotencykey k
    WHERE k.endpoint = 'POST orders' AND k.location <> '' AND ((k.body IS NOT NULL
          AND k.expires_at >= (SELECT since + answers_kept FROM audit_clock))
       OR (SELECT low FROM audit_clock) = '00000000-0000-0000-0000-000000000000')
)"""

CHECKS = (
    Check(
        "I6",
        "whoever was told 202 finds the order",
        f"WITH {_ANSWERS} SELECT coalesce(a.order_id::text, a.location), 'customer ' || a.customer_id || ' was told of "
        "it under key ' || a.key || ', and ' || coalesce('it is of customer ' || o.customer_id, 'it is not there') "
        "FROM answers a LEFT JOIN orders_order o ON o.id = a.order_id "
        "WHERE o.id IS NULL OR o.customer_id <> a.customer_id",
    ),
    Check(
        "I6",
        "the order is what its customer was told",
        f"WITH {_ANSWERS}, told AS (SELECT a.key, a.order_id, convert_from(a.body, 'UTF8')::jsonb AS body "
        "FROM answers a WHERE a.body IS NOT NULL) "
        "SELECT o.id, 'key ' || t.key || ' was answered ' || (t.body ->> 'id') || ', ' || "
        "(t.body #>> '{total,amount}') || ' ' || (t.body #>> '{total,currency}') "
        "|| ', the order is over ' || o.amount || ' ' || o.currency "
        "FROM told t JOIN orders_order o ON o.id = t.order_id "
        "WHERE t.body ->> 'id' IS DISTINCT FROM o.id::text "
        "OR t.body #>> '{total,currency}' IS DISTINCT FROM o.currency "
        "OR replace(t.body #>> '{total,amount}', '.', '')::numeric IS DISTINCT FROM o.amount "
        "OR (SELECT jsonb_object_agg(item ->> 'sku', (item ->> 'quantity')::int) "
        "FROM jsonb_array_elements(t.body -> 'items') AS item) IS DISTINCT FROM "
        "(SELECT jsonb_object_agg(l.sku, l.quantity) FROM orders_orderline l WHERE l.order_id = o.id)",
    ),
    Check(
        "I6",
        "one key makes one order",
        f"WITH {_ANSWERS} SELECT a.order_id, 'made under the keys ' || string_agg(a.key, ', ' ORDER BY a.id) "
        "FROM answers a GROUP BY a.order_id HAVING count(*) > 1",
    ),
    Check(
        "I6",
        "an order costs what its lines cost",
        "SELECT o.id, 'total ' || o.amount || ', lines ' || coalesce(sum(l.quantity * l.unit_price), 0) "
        "FROM audit_scope s JOIN orders_order o ON o.id = s.key LEFT JOIN orders_orderline l ON l.order_id = o.id "
        "GROUP BY o.id, o.amount HAVING o.amount <> coalesce(sum(l.quantity * l.unit_price), 0)",
    ),
    Check(
        "I6",
        "an order's status agrees with its saga",
        "SELECT j.id, trim(j.status || ' ' || j.reason) || ', its saga ' || "
        "coalesce(trim(s.status || ' ' || s.reason), 'never ran') FROM audit_judged j "
        "LEFT JOIN sagas_sagainstance s ON s.key = j.id AND s.name = 'order-fulfilment' "
        "WHERE s.status IS DISTINCT FROM CASE WHEN j.status = 'CANCELLED' THEN 'COMPENSATED' ELSE 'COMPLETED' END "
        "OR (j.status = 'CANCELLED' AND j.reason <> s.reason)",
    ),
    Check(
        "I6",
        "a returned order has its return",
        "SELECT j.id, 'its return ' || coalesce(s.status, 'never ran') FROM audit_judged j "
        "LEFT JOIN sagas_sagainstance s ON s.key = j.id AND s.name = 'order-return' "
        "WHERE (j.status = 'RETURNED') <> (coalesce(s.status, '') = 'COMPLETED')",
    ),
)
