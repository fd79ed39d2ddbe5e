"""What the tables are filled with: a week of a busy shop, written set by set, never row by row.

Every order has its saga, its payment, its parcel and ten messages; some stand still in one of a dozen ways, and each of
those has a case, a dead delivery and the failed tries behind it. The statements take `%(orders)s`, `%(cases)s`,
`%(log)s` (lines of the operator log) and `%(deliveries)s`; those of `IN_CHUNKS` one range of orders after the other.
"""

from __future__ import annotations

MESSAGES_PER_ORDER = 10

# A dozen ways to stand still: step, direction, destination, message, error class, error.
GROUPS = """
CREATE TABLE bench_group (id int PRIMARY KEY, step text, direction text, destination text, type text, class text,
                          error text);
INSERT INTO bench_group VALUES
    (0, 'charge-payment', 'compensation', 'payments', 'payment.refund', 'RefundRefused',
        'refund_refused: the bank refuses to refund this charge'),
    (1, 'charge-payment', 'compensation', 'payments', 'payment.refund', 'DeadlinePassed',
        'step charge-payment (compensation) has had no answer since yesterday'),
    (2, 'create-shipment', 'compensation', 'shipping', 'shipment.cancel', 'UnforeseenAnswer',
        'the carrier answered 409 in_transit: the parcel has left'),
    (3, 'create-shipment', 'compensation', 'shipping', 'shipment.cancel', 'DeadlinePassed',
        'step create-shipment (compensation) has had no answer since yesterday'),
    (4, 'reserve-inventory', 'compensation', 'inventory', 'inventory.release', 'IntegrityError',
        'new row violates check constraint "inventory_stock_adds_up"'),
    (5, 'reserve-inventory', 'compensation', 'inventory', 'inventory.release', 'NoOutcome',
        'its last tries ended without an outcome: the workers died or lost the database'),
    (6, 'charge-payment', 'compensation', 'payments', 'payment.refund', 'UnforeseenAnswer',
        'the bank answered 422 over_refund: 1200 of 1200 is refunded already'),
    (7, 'charge-payment', 'compensation', 'payments', 'payment.refund', 'TimeOut',
        'no answer from bank within 2 s: ReadTimeout'),
    (8, 'confirm-order', 'action', 'orders', 'order.confirm', 'KeyError', '''currency'''),
    (9, 'confirm-order', 'action', 'orders', 'order.confirm', 'DeadlinePassed',
        'step confirm-order (action) has had no answer since yesterday'),
    (10, 'create-shipment', 'compensation', 'shipping', 'shipment.cancel', 'TypeError',
        'unsupported operand type(s) for +: ''int'' and ''str'''),
    (11, 'charge-payment', 'compensation', 'payments', 'payment.refund', 'RefundRefused',
        'refund_refused: the card has expired');
"""

# An id as the product makes them, the same for the same salt: by time, then by chance.
ID_AT = """
CREATE FUNCTION bench_id(at timestamptz, salt text) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(salt), 1, 3)
            || '8' || substr(md5(salt), 4, 15))::uuid
$$;
"""

# What each order is: every so-many-th has case number `c`, of which two in five are closed.
ORDERS = """
CREATE UNLOGGED TABLE bench_order AS
SELECT n, bench_id(at, 'order' || n) AS id, bench_id(at + interval '30 ms', 'saga' || n) AS saga_id, at,
       500 + (n * 7919) %% 90000 AS amount, (ARRAY['EUR', 'EUR', 'EUR', 'USD', 'GBP'])[1 + n %% 5] AS currency,
       c, c IS NOT NULL AND c %% 5 >= 2 AS is_open, CASE WHEN c IS NOT NULL THEN (c / 5) %% 12 END AS "group"
FROM (SELECT n, now() - interval '7 days' + n * interval '7 days' / (%(orders)s + 1) AS at,
             CASE WHEN n %% every = 0 AND n / every <= %(cases)s THEN n / every END AS c
      FROM generate_series(1::bigint, %(orders)s) AS n, greatest(%(orders)s / %(cases)s, 1) AS every) AS numbered;
ALTER TABLE bench_order ADD PRIMARY KEY (n);
ANALYZE bench_order;
"""

PARTITIONS = """
SELECT outbox_create_partition(CURRENT_DATE - day) FROM generate_series(0, 7) AS day;
SELECT outbox_create_call_partition(CURRENT_DATE - day) FROM generate_series(0, 7) AS day;
"""

# The messages of an order that went well; one that stands still has the same number.
MESSAGES = """
INSERT INTO outbox_message (id, time, sequence, kind, type, version, source, ordering_key, correlation_id, causation_id,
                            headers, payload)
SELECT bench_id(o.at + k * interval '40 ms', 'message' || o.n || '-' || k), o.at + k * interval '40 ms',
       o.n::bigint * 10 + k, said.kind, said.type, 1, said.source, o.id, o.saga_id,
       CASE WHEN k > 0 THEN bench_id(o.at + (k - 1) * interval '40 ms', 'message' || o.n || '-' || k - 1) END,
       CASE WHEN said.step = '' THEN '{}'::jsonb
            ELSE jsonb_build_object('step', said.step, 'direction', 'action') END,
       jsonb_build_object('order_id', o.id, 'amount', o.amount, 'currency', o.currency,
           'payment_method', 'pm_card_visa',
           'address', '{"city": "Berlin", "name": "Ada", "line1": "1 Main St", "country": "DE"}'::jsonb)
FROM bench_order o CROSS JOIN (VALUES
    (0, 'event', 'order.created', 'orders', ''),
    (1, 'command', 'inventory.reserve', 'sagas', 'reserve-inventory'),
    (2, 'event', 'inventory.reserved', 'inventory', 'reserve-inventory'),
    (3, 'command', 'payment.charge', 'sagas', 'charge-payment'),
    (4, 'event', 'payment.charged', 'payments', 'charge-payment'),
    (5, 'command', 'shipment.create', 'sagas', 'create-shipment'),
    (6, 'event', 'shipment.created', 'shipping', 'create-shipment'),
    (7, 'command', 'order.confirm', 'sagas', 'confirm-order'),
    (8, 'event', 'order.confirmed', 'orders', 'confirm-order'),
    (9, 'event', 'payment.webhook_received', 'payments', '')) AS said (k, kind, type, source, step)
WHERE o.n BETWEEN %(first)s AND %(last)s
"""

SAGAS = """
INSERT INTO sagas_sagainstance (id, name, version, key, status, reason, steps, data, lock,
                                started_at, updated_at, ended_at)
SELECT o.saga_id, 'order-fulfilment', 1, o.id,
       CASE WHEN o.is_open THEN 'SUSPENDED' WHEN o.c IS NOT NULL THEN 'COMPENSATED' ELSE 'COMPLETED' END,
       CASE WHEN o.c IS NOT NULL THEN 'shipping_refused' ELSE '' END,
       (SELECT jsonb_object_agg(step, jsonb_build_object(
            'status', CASE WHEN o.is_open AND step = g.step THEN 'STUCK' WHEN o.c IS NULL THEN 'SUCCEEDED'
                           ELSE 'COMPENSATED' END,
            'started_at', o.at, 'ended_at', o.at + interval '400 ms')
            || CASE WHEN o.c IS NULL THEN '{}'::jsonb ELSE jsonb_build_object('direction', g.direction) END)
        FROM unnest(ARRAY['reserve-inventory', 'charge-payment', 'create-shipment', 'confirm-order']) AS step),
       jsonb_build_object('order_id', o.id, 'amount', o.amount, 'currency', o.currency,
           'payment_method', 'pm_card_visa', 'lines', '[{"sku": "KETTLE", "quantity": 1}]'::jsonb,
           'address', '{"city": "Berlin", "name": "Ada", "line1": "1 Main St", "country": "DE"}'::jsonb),
       'order', o.at, o.at + interval '400 ms', CASE WHEN NOT o.is_open THEN o.at + interval '400 ms' END
FROM bench_order o LEFT JOIN bench_group g ON g.id = o."group"
WHERE o.n BETWEEN %(first)s AND %(last)s
"""

ORDER_ROWS = """
INSERT INTO orders_order (id, customer_id, status, reason, amount, currency, payment_method, shipping_address,
                          items_hash, guard_window, placed_at, updated_at)
SELECT o.id, 1 + o.n %% 5000,
       CASE WHEN o.is_open THEN 'PENDING' WHEN o.c IS NOT NULL THEN 'CANCELLED' ELSE 'CONFIRMED' END,
       CASE WHEN o.c IS NOT NULL AND NOT o.is_open THEN 'shipping_refused' ELSE '' END, o.amount, o.currency,
       'pm_card_visa', '{"city": "Berlin", "name": "Ada", "line1": "1 Main St", "country": "DE"}', o.n,
       tstzrange(o.at, o.at + interval '1 s'), o.at, o.at + interval '400 ms'
FROM bench_order o WHERE o.n BETWEEN %(first)s AND %(last)s
"""

PAYMENTS = """
INSERT INTO payments_payment (key, order_id, amount, currency, status, gateway, reference, created_at, updated_at)
SELECT o.id || '-' || o.saga_id || '-charge-payment', o.id, o.amount, o.currency, 'charged', 'simulated',
       'ch_' || md5('charge' || o.n), o.at + interval '150 ms', o.at + interval '150 ms'
FROM bench_order o WHERE o.n BETWEEN %(first)s AND %(last)s
"""

REFUNDS = """
INSERT INTO payments_refund (key, charge_key, order_id, amount, currency, reference, created_at)
SELECT o.id || '-' || o.saga_id || '-charge-payment-compensation', o.id || '-' || o.saga_id || '-charge-payment', o.id,
       o.amount, o.currency, 're_' || md5('refund' || o.n), o.at + interval '1 h'
FROM bench_order o WHERE o.n BETWEEN %(first)s AND %(last)s AND o.n %% 20 = 0 AND o.c IS NULL
"""

SHIPMENTS = """
INSERT INTO shipping_shipment (key, order_id, status, carrier, tracking, address, created_at, updated_at)
SELECT o.id || '-' || o.saga_id || '-create-shipment', o.id, 'created', 'simulated',
       'SIM' || upper(md5('parcel' || o.n)),
       '{"city": "Berlin", "name": "Ada", "line1": "1 Main St", "country": "DE"}', o.at + interval '250 ms',
       o.at + interval '250 ms'
FROM bench_order o WHERE o.n BETWEEN %(first)s AND %(last)s
"""

WEBHOOKS = """
INSERT INTO payments_webhookevent (gateway, event_id, type, key, order_id, amount, currency, occurred_at, payload,
                                   status, received_at, settled_at)
SELECT 'simulated', 'evt_' || md5('webhook' || o.n), 'charged', o.id || '-' || o.saga_id || '-charge-payment',
       o.id::text, o.amount, o.currency, o.at, '{"type": "charged"}', 'applied', o.at, o.at + interval '1 s'
FROM bench_order o WHERE o.n BETWEEN %(first)s AND %(last)s
"""

EMAILS = """
INSERT INTO notifications_email (message_id, order_id, event, sent_at)
SELECT bench_id(o.at + 8 * interval '40 ms', 'message' || o.n || '-8'), o.id, 'order.confirmed',
       o.at + interval '500 ms'
FROM bench_order o WHERE o.n BETWEEN %(first)s AND %(last)s
"""

CASES = """
INSERT INTO sagas_case (saga_id, key, step, direction, message_id, destination, error_class, error, fingerprint,
                        attempts, status, owner, claimed_at, opened_at, due_at, closed_at, resolution, reason,
                        reference, amount, currency)
SELECT o.saga_id, o.id, g.step, g.direction, bench_id(o.at + 7 * interval '40 ms', 'message' || o.n || '-7'),
       g.destination, g.class, g.error, substr(md5(g.type || g.class || g.error), 1, 12), 5,
       CASE WHEN o.is_open THEN 'OPEN' ELSE 'CLOSED' END, (ARRAY['on-call', 'ada', 'grace', 'olga'])[1 + o.c %% 4],
       CASE WHEN o.c %% 4 > 0 THEN o.at + interval '5 min' END, o.at + interval '20 s', o.at + interval '4 h',
       CASE WHEN NOT o.is_open THEN o.at + interval '1 h' END,
       CASE WHEN o.is_open THEN '' ELSE (ARRAY['retried', 'resolved', 'skipped', 'recovered'])[1 + o.c %% 4] END,
       CASE WHEN o.is_open THEN '' ELSE 'the bank gave in' END, '', o.amount, o.currency
FROM bench_order o JOIN bench_group g ON g.id = o."group"
ORDER BY o.n
"""

NOTES = """
INSERT INTO sagas_casenote (case_id, at, author, origin, text)
SELECT id, opened_at + interval '10 min', 'ada', '10.0.0.7', 'Asked the bank; they call back.'
FROM sagas_case WHERE id %% 5 = 0
"""

# The request of one in fifty open cases waits for a second person.
APPROVALS = """
INSERT INTO sagas_approval (saga_id, key, action, reason, reference, amount, currency, status, requested_by,
                            requested_at, seen_at, expires_at, decided_by, decided_at)
SELECT saga_id, key, 'resolve', 'paid back by bank transfer', 'SEPA-1', amount, currency,
       CASE WHEN status = 'OPEN' THEN 'REQUESTED' ELSE 'CARRIED_OUT' END, 'ada', opened_at,
       opened_at - interval '19600 ms',
       now() + interval '1 day', CASE WHEN status = 'OPEN' THEN '' ELSE 'grace' END, closed_at
FROM sagas_case WHERE id %% 50 IN (0, 1)
"""

ATTEMPTS = """
INSERT INTO outbox_attempt (at, message_id, ordering_key, destination, type, attempt, decision, error_class, error,
                            fingerprint)
SELECT c.opened_at - (5 - attempt) * interval '3 s', c.message_id, c.key, c.destination, 'payment.refund', attempt,
       CASE WHEN attempt = 5 THEN 'dead' ELSE 'retry' END, c.error_class, c.error, c.fingerprint
FROM sagas_case c CROSS JOIN generate_series(1, 5) AS attempt ORDER BY 1
"""

CALLS = """
INSERT INTO outbox_gateway_call (started_at, milliseconds, gateway, operation, method, path, key, request, status,
                                 answer, outcome, error, ordering_key, message_id, attempt, trace_id)
SELECT c.opened_at - (5 - attempt) * interval '3 s', 40, 'bank', 'refund', 'POST', '/refunds', c.key::text, '{}', 402,
       '{"code": "refund_refused"}', 'refused', c.error, c.key, c.message_id, attempt, ''
FROM sagas_case c CROSS JOIN generate_series(1, 5) AS attempt ORDER BY 1
"""

# Those of open cases are dead; the others wait for a gateway that is away.
DELIVERIES = """
INSERT INTO outbox_delivery (message_id, message_time, destination, lane, kind, type, ordering_key, available_at,
                             attempts, dead_at, error_class, error, fingerprint)
SELECT c.message_id, c.opened_at, c.destination, 'compensations', 'command', g.type, c.key, '9999-01-01 00:00Z', 5,
       c.opened_at,
       c.error_class, c.error, c.fingerprint
FROM sagas_case c JOIN bench_group g ON (g.step, g.class, g.error) = (c.step, c.error_class, c.error)
WHERE c.status = 'OPEN' ORDER BY c.id LIMIT %(deliveries)s / 2;
INSERT INTO outbox_delivery (message_id, message_time, destination, lane, kind, type, ordering_key, available_at)
SELECT bench_id(o.at + 3 * interval '40 ms', 'message' || o.n || '-3'), o.at,
       (ARRAY['payments', 'shipping'])[1 + o.n %% 2],
       'effects', 'command', 'payment.charge', o.id, now() + interval '1 day'
FROM bench_order o WHERE o.c IS NULL ORDER BY o.n DESC LIMIT %(deliveries)s / 2;
"""

OPERATOR_LOG = """
INSERT INTO sagas_operatoraction (at, operator, origin, action, saga_id, key, case_id, reason, reference, seen, result)
SELECT now() - n * interval '6 s', (ARRAY['ada', 'grace', 'olga'])[1 + n %% 3], '10.0.0.7',
       (ARRAY['retry', 'resolve', 'skip', 'request resolve', 'claim'])[1 + n %% 5], c.saga_id, c.key, c.id,
       'the bank gave in', '', '{"status": "SUSPENDED"}', (ARRAY['requested', 'done', 'awaits approval'])[1 + n %% 3]
FROM generate_series(%(log)s, 1, -1) AS n JOIN sagas_case c ON c.id = 1 + n %% (SELECT max(id) FROM sagas_case)
"""

# Two runs over every open case: one that waits for its start, and one that is done.
BULK_RUNS = """
INSERT INTO desk_bulkrun (action, source, size, phase, note, operator, origin, reason, reference, per_second, goes_on,
                          requested_by, started_by, stopped_by)
SELECT 'retry', 'all open cases', count(*), phase, '', 'ada', '', '', '', 50, false, 'ada', '', ''
FROM sagas_case CROSS JOIN unnest(ARRAY['PREVIEW', 'DONE']) AS phase WHERE status = 'OPEN' GROUP BY phase;
INSERT INTO desk_bulkrow (run_id, position, case_id, key, fingerprint, "group", step, amount, currency, calls,
                          needs_approval, status, is_held, result)
SELECT r.id, row_number() OVER (PARTITION BY r.id ORDER BY c.id), c.id, c.key, c.fingerprint, c.error_class,
       c.step || ' (' || c.direction || ')', c.amount, c.currency, 'payment.refund, as it was', false,
       CASE WHEN r.phase = 'PREVIEW' THEN 'WAITING' WHEN c.id %% 50 = 0 THEN 'FAILED_AGAIN' ELSE 'DONE' END,
       false, 'done'
FROM desk_bulkrun r CROSS JOIN sagas_case c WHERE c.status = 'OPEN';
"""

FIRST = (GROUPS, ID_AT, ORDERS, PARTITIONS)
IN_CHUNKS = (MESSAGES, SAGAS, ORDER_ROWS, PAYMENTS, REFUNDS, SHIPMENTS, WEBHOOKS, EMAILS)
LAST = (CASES, NOTES, APPROVALS, ATTEMPTS, CALLS, DELIVERIES, OPERATOR_LOG, BULK_RUNS)
