"""The statements of the hot path. Each header says what it locks and which index serves it.

Those that a batch shares are set-based: one order and five hundred cost the same number of statements.
"""

# Inserts the order and its lines. Waits for a concurrent order that the duplicate guard may refuse this one
# for, and returns no row when the guard did. Index: the guard's own GiST index.
PLACE_ORDER = """
WITH placed AS (
    INSERT INTO orders_order
        (id, customer_id, amount, currency, payment_method, shipping_address, items_hash, guard_window)
    VALUES (%s, %s, %s, %s, %s, %s::jsonb, %s,
            tstzrange(statement_timestamp(), statement_timestamp() + interval '1 second'))
    ON CONFLICT ON CONSTRAINT orders_order_duplicate_guard DO NOTHING
    RETURNING id, placed_at, guard_window
), lines AS (
    INSERT INTO orders_orderline (order_id, position, sku, name, quantity, unit_price)
    SELECT placed.id, u.position, u.sku, u.name, u.quantity, u.unit_price
    FROM placed, unnest(%b::smallint[], %b::text[], %b::text[], %b::int[], %b::bigint[])
        AS u(position, sku, name, quantity, unit_price)
)
SELECT placed_at, guard_window FROM placed
"""

# The order that the guard refused another one for. Locks nothing. Index: the guard's GiST index.
GUARDING_ORDER = """
SELECT id FROM orders_order
WHERE customer_id = %s::bigint AND items_hash = %s::bigint
  AND guard_window && tstzrange(now(), statement_timestamp() + interval '1 second')
ORDER BY id
LIMIT 1
"""

# The price list rows of one checkout. Locks nothing. Index: primary key.
PRICES = "SELECT sku, name, amount, currency FROM orders_price WHERE sku = ANY(%b::text[])"

# Moves orders to a status, those that may go there, and says of each where it is now. Locks the orders in id
# order, so that two batches cannot deadlock; the reason of a move stays what it was if none is given. Index:
# primary key.
MOVE_ORDERS = """
WITH wanted AS MATERIALIZED (
    SELECT o.id, o.status, o.reason, o.customer_id, u.reason AS new_reason
    FROM unnest(%b::uuid[], %b::text[]) AS u(id, reason)
    JOIN orders_order o ON o.id = u.id
    ORDER BY o.id
    FOR NO KEY UPDATE OF o
), moved AS (
    UPDATE orders_order o
    SET status = %s, reason = coalesce(nullif(w.new_reason, ''), o.reason), updated_at = now()
    FROM wanted w
    WHERE o.id = w.id AND o.status = ANY(%b::text[])
    RETURNING o.id, o.status, o.reason
)
SELECT w.id, coalesce(m.status, w.status), coalesce(m.reason, w.reason), w.customer_id
FROM wanted w LEFT JOIN moved m ON m.id = w.id
"""

# Takes over names and prices. Locks the rows in SKU order. Index: primary key.
LIST_PRICES = """
INSERT INTO orders_price (sku, name, amount, currency)
SELECT u.sku, u.name, u.amount, u.currency
FROM unnest(%b::text[], %b::text[], %b::bigint[], %b::text[]) AS u(sku, name, amount, currency)
ORDER BY u.sku
ON CONFLICT (sku) DO UPDATE
SET name = excluded.name, amount = excluded.amount, currency = excluded.currency, updated_at = now()
"""
