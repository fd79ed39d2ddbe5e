"""The hot statements of payments: each records a whole batch of the gateway's answers."""

# Adds rows; locks and completes those that were noted as unknown. Index: primary key of payments_payment.
RECORD_CHARGES = """
INSERT INTO payments_payment AS payment (key, order_id, amount, currency, status, gateway, reference, code)
SELECT * FROM unnest(
    %b::text[], %b::uuid[], %b::bigint[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[]
)
ON CONFLICT (key) DO UPDATE
SET status = excluded.status, reference = excluded.reference, code = excluded.code, updated_at = now()
WHERE payment.status = 'unknown'
"""

# Adds a row, or locks it and renews its time. Index: primary key of payments_payment.
NOTE_UNKNOWN = """
INSERT INTO payments_payment AS payment (key, order_id, amount, currency, status, gateway)
VALUES (%s, %s, %s, %s, 'unknown', %s)
ON CONFLICT (key) DO UPDATE SET updated_at = now() WHERE payment.status = 'unknown'
"""

# Locks the charges of the batch and adds those whose own answer was lost; one row each, or the charge was
# declined. Index: primary key of payments_payment.
MARK_REFUNDED = """
INSERT INTO payments_payment AS payment (key, order_id, amount, currency, status, gateway, reference)
SELECT key, order_id, amount, currency, 'refunded', gateway, reference
FROM unnest(%b::text[], %b::uuid[], %b::bigint[], %b::text[], %b::text[], %b::text[])
    AS charge (key, order_id, amount, currency, gateway, reference)
ON CONFLICT (key) DO UPDATE SET status = 'refunded', reference = excluded.reference, updated_at = now()
WHERE payment.status <> 'declined'
"""

# Adds rows. Index: primary key of payments_refund.
RECORD_REFUNDS = """
INSERT INTO payments_refund (key, charge_key, order_id, amount, currency, reference)
SELECT * FROM unnest(%b::text[], %b::text[], %b::uuid[], %b::bigint[], %b::text[], %b::text[])
ON CONFLICT (key) DO NOTHING
"""

# Locks and changes the charges that turned out never to have been made. Index: primary key of
# payments_payment.
MARK_VOID = """
UPDATE payments_payment SET status = 'void', updated_at = now()
WHERE key = ANY(%b::text[]) AND status = 'unknown'
"""

# What the gateway told us before its answer came says the same as the row now. Index: payments_webhook_parked.
APPLY_PARKED = """
UPDATE payments_webhookevent event SET status = 'applied', settled_at = now()
FROM payments_payment payment
WHERE event.key = ANY(%b::text[]) AND event.status = 'parked' AND event.type = 'charged'
  AND payment.key = event.key AND payment.status = 'charged' AND payment.gateway = event.gateway
  AND payment.amount = event.amount AND payment.currency = event.currency
"""

# Insert first: the unique key tells a repetition. Index: payments_webhook_once_per_event.
STORE_EVENT = """
INSERT INTO payments_webhookevent
    (gateway, event_id, type, key, order_id, amount, currency, occurred_at, payload, status, settled_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb, %s, CASE WHEN %s THEN now() END)
ON CONFLICT (gateway, event_id) DO NOTHING
"""
