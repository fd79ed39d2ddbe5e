"""The hot statements of shipping: each records a whole batch of the carrier's answers."""

# Adds rows; locks and completes those that were noted as unknown. Index: primary key of shipping_shipment.
RECORD_SHIPMENTS = """
INSERT INTO shipping_shipment AS shipment (key, order_id, status, carrier, tracking, code, address)
SELECT * FROM unnest(%b::text[], %b::uuid[], %b::text[], %b::text[], %b::text[], %b::text[], %b::jsonb[])
ON CONFLICT (key) DO UPDATE
SET status = excluded.status, tracking = excluded.tracking, code = excluded.code, updated_at = now()
WHERE shipment.status = 'unknown'
"""

# Adds a row, or locks it and renews its time. Index: primary key of shipping_shipment.
NOTE_UNKNOWN = """
INSERT INTO shipping_shipment AS shipment (key, order_id, status, carrier, address)
VALUES (%s, %s, 'unknown', %s, %s::jsonb)
ON CONFLICT (key) DO UPDATE SET updated_at = now() WHERE shipment.status = 'unknown'
"""

# Locks and changes the parcels of the batch that are, or may be, on their way. Index: primary key of
# shipping_shipment.
CANCEL_SHIPMENTS = """
UPDATE shipping_shipment SET status = 'cancelled', updated_at = now()
WHERE key = ANY(%b::text[]) AND status IN ('created', 'unknown')
"""
