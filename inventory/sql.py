"""The hot statements of inventory: each serves a whole batch of messages, however many orders it holds.

Stock rows are always locked in SKU order before they are changed, so that two batches with the same SKUs wait
for each other in a line, never in a circle.
"""

# Locks the stock rows of the batch, in SKU order. Index: primary key of inventory_stock.
LOCK_STOCK = """
SELECT sku, on_hand FROM inventory_stock WHERE sku = ANY(%b::text[]) ORDER BY sku FOR UPDATE
"""

# Locks nothing. Index: primary key of inventory_reservation, by its first column.
FIND_RESERVED_ORDERS = """
SELECT order_id, bool_or(status = 'held') FROM inventory_reservation
WHERE order_id = ANY(%b::uuid[]) GROUP BY order_id
"""

# Changes stock rows that LOCK_STOCK has locked. Index: primary key of inventory_stock.
TAKE_STOCK = """
UPDATE inventory_stock SET on_hand = on_hand - taken.quantity, reserved = reserved + taken.quantity
FROM unnest(%b::text[], %b::bigint[]) AS taken (sku, quantity) WHERE inventory_stock.sku = taken.sku
"""

# Adds rows.
HOLD_LINES = """
INSERT INTO inventory_reservation (order_id, sku, quantity)
SELECT * FROM unnest(%b::uuid[], %b::text[], %b::int[])
"""

# Locks the reservations of the batch in key order, then changes them; returns what came free, per SKU.
# Index: primary key of inventory_reservation, by its first column.
RELEASE_LINES = """
WITH held AS MATERIALIZED (
    SELECT order_id, sku FROM inventory_reservation
    WHERE order_id = ANY(%b::uuid[]) AND status = 'held' ORDER BY order_id, sku FOR UPDATE
), released AS (
    UPDATE inventory_reservation SET status = 'released', released_at = now()
    FROM held WHERE (inventory_reservation.order_id, inventory_reservation.sku) = (held.order_id, held.sku)
    RETURNING inventory_reservation.sku, inventory_reservation.quantity
)
SELECT sku, sum(quantity)::bigint FROM released GROUP BY sku ORDER BY sku
"""

# Changes stock rows that LOCK_STOCK has locked. Index: primary key of inventory_stock.
RETURN_STOCK = """
UPDATE inventory_stock SET on_hand = on_hand + freed.quantity, reserved = reserved - freed.quantity
FROM unnest(%b::text[], %b::bigint[]) AS freed (sku, quantity) WHERE inventory_stock.sku = freed.sku
"""

# One catalogue is loaded at a time, until the end of the transaction; readers and reservations go on.
LOCK_CATALOGUE = """
SELECT pg_advisory_xact_lock(hashtextextended('inventory.load_catalogue', 0))
"""

# Locks the stock rows of the catalogue, in SKU order. Index: primary key of inventory_stock.
LOCK_LOADED = """
SELECT sku, reserved FROM inventory_stock WHERE sku = ANY(%b::text[]) ORDER BY sku FOR UPDATE
"""

# Locks the changed products; returns SKU and message id of each. Index: primary key of inventory_product.
LIST_PRODUCTS = """
INSERT INTO inventory_product AS product (sku, name, price, currency, listing_id)
SELECT * FROM unnest(%b::text[], %b::text[], %b::bigint[], %b::text[], %b::uuid[])
ON CONFLICT (sku) DO UPDATE
SET name = excluded.name, price = excluded.price, currency = excluded.currency,
    listed_at = now(), listing_id = excluded.listing_id
WHERE (product.name, product.price, product.currency) IS DISTINCT FROM
      (excluded.name, excluded.price, excluded.currency)
RETURNING sku, listing_id
"""

# Locks nothing. Index: primary key of inventory_product.
FIND_LISTINGS = """
SELECT listing_id FROM inventory_product WHERE sku = ANY(%b::text[])
"""

# Changes stock rows that LOCK_LOADED has locked, adds the missing ones. Index: primary key of
# inventory_stock.
LOAD_STOCK = """
INSERT INTO inventory_stock AS stock (sku, on_hand, loaded)
SELECT sku, loaded, loaded FROM unnest(%b::text[], %b::bigint[]) AS file (sku, loaded)
ON CONFLICT (sku) DO UPDATE SET on_hand = excluded.loaded - stock.reserved, loaded = excluded.loaded
WHERE stock.loaded <> excluded.loaded
"""
