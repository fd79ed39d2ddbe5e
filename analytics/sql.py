"""The hot statements of analytics: each counts a whole batch of events."""

# One batch is counted at a time, until the end of its transaction. All of them meet on the few rows of today
# anyway, and this way two batches that reach those rows in another order cannot wait for each other in a
# circle.
TAKE_TURN = """
SELECT pg_advisory_xact_lock(hashtextextended('analytics.count', 0))
"""

# Adds rows; returns those that are new. Index: primary key of analytics_orderfact.
ADD_ORDERS = """
INSERT INTO analytics_orderfact (order_id, outcome, amount, currency)
SELECT order_id, 'created', amount, currency
FROM unnest(%b::uuid[], %b::bigint[], %b::text[]) AS placed (order_id, amount, currency)
ON CONFLICT (order_id) DO NOTHING
RETURNING order_id, amount, currency
"""

# Locks and changes the orders of the batch that have not got so far yet; returns them.
# Index: primary key of analytics_orderfact.
MOVE_ORDERS = """
UPDATE analytics_orderfact SET outcome = %s, updated_at = now()
WHERE order_id = ANY(%b::uuid[]) AND outcome = %s
RETURNING order_id, amount, currency
"""

# Locks and changes the rows of the days. Index: analytics_orders_per_day_unique.
ADD_TO_DAYS = """
INSERT INTO analytics_ordersperday AS total (day, outcome, currency, orders, amount)
SELECT * FROM unnest(%b::date[], %b::text[], %b::text[], %b::bigint[], %b::bigint[])
ON CONFLICT (day, outcome, currency) DO UPDATE
SET orders = total.orders + excluded.orders, amount = total.amount + excluded.amount
"""
