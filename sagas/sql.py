"""The statements of the engine's hot path; a batch of events costs the same few, whatever its size."""

# Insert first: the unique keys (one saga per key and name, one live saga per key and lock) settle every race. Waits
# for a concurrent starter of the same key.
START = """
INSERT INTO sagas_sagainstance
    (id, name, version, key, status, steps, data, lock, traceparent, due_at)
SELECT u.id, u.name, u.version, u.key, u.status, u.steps::jsonb, u.data::jsonb, u.lock, u.traceparent, u.due_at
FROM unnest(%b::uuid[], %b::text[], %b::smallint[], %b::uuid[], %b::text[], %b::text[], %b::text[], %b::text[],
            %b::text[], %b::timestamptz[])
    AS u(id, name, version, key, status, steps, data, lock, traceparent, due_at)
ORDER BY u.key, u.name
ON CONFLICT DO NOTHING
RETURNING id
"""

# Locks the instances that a batch of events concerns, in id order, so that two batches cannot deadlock. Index:
# primary key.
LOAD = """
SELECT id, name, version, key, status, reason, steps::text, data::text, traceparent, started_at
FROM sagas_sagainstance
WHERE id = ANY(%b::uuid[])
ORDER BY id
FOR NO KEY UPDATE
"""

# Live sagas of these keys, for events that name an order and not a saga. Index: sagas_semantic_lock.
LIVE_OF_KEYS = """
SELECT key, id FROM sagas_sagainstance
WHERE key = ANY(%b::uuid[]) AND status IN ('RUNNING', 'COMPENSATING', 'SUSPENDED')
"""

# Rows are locked by LOAD. No indexed column changes while a saga is live, so the update stays in its page.
SAVE = """
UPDATE sagas_sagainstance s
SET status = u.status, reason = u.reason, steps = u.steps::jsonb, due_at = u.due_at, updated_at = now(),
    ended_at = CASE WHEN u.status IN ('COMPLETED', 'COMPENSATED', 'ABANDONED') THEN now() END
FROM unnest(%b::uuid[], %b::text[], %b::text[], %b::text[], %b::timestamptz[])
    AS u(id, status, reason, steps, due_at)
WHERE s.id = u.id
"""

# Which of these (key, name) exist already? Index: sagas_one_per_key_and_name.
KNOWN = """
SELECT s.key, s.name FROM sagas_sagainstance s
JOIN unnest(%b::uuid[], %b::text[]) AS u(key, name) ON s.key = u.key AND s.name = u.name
"""

# Live sagas with a missed deadline; skips those that someone works on, and those that this release does not know,
# which must not hold up the others. Index: sagas_live.
OVERDUE = """
SELECT s.id FROM sagas_sagainstance s
WHERE s.status IN ('RUNNING', 'COMPENSATING') AND s.due_at <= now()
  AND (s.name, s.version) IN (SELECT * FROM unnest(%b::text[], %b::smallint[]))
ORDER BY s.due_at
LIMIT %s
FOR NO KEY UPDATE SKIP LOCKED
"""

# What money hangs on a case its opener says, or else its saga. Index: primary key of the saga.
OPEN_CASES = """
INSERT INTO sagas_case
    (saga_id, key, step, direction, message_id, destination, error_class, error, fingerprint, attempts, status, owner,
     due_at, resolution, reason, reference, amount, currency)
SELECT u.saga_id, u.key, u.step, u.direction, u.message_id, u.destination, u.error_class, u.error, u.fingerprint,
       u.attempts, 'OPEN', %s, now() + %s, '', '', '',
       coalesce(u.amount, CASE WHEN jsonb_typeof(s.data -> 'amount') = 'number' THEN (s.data ->> 'amount')::bigint END),
       coalesce(u.currency, s.data ->> 'currency', '')
FROM unnest(%b::uuid[], %b::uuid[], %b::text[], %b::text[], %b::uuid[], %b::text[], %b::text[], %b::text[], %b::text[],
            %b::smallint[], %b::bigint[], %b::text[])
    AS u(saga_id, key, step, direction, message_id, destination, error_class, error, fingerprint, attempts, amount,
         currency)
LEFT JOIN sagas_sagainstance s ON s.id = u.saga_id
ON CONFLICT DO NOTHING
"""

# A stuck step that went on after all needs nobody any more.
CLOSE_RECOVERED = """
UPDATE sagas_case c
SET status = 'CLOSED', resolution = 'recovered', closed_at = now()
FROM unnest(%b::uuid[], %b::text[]) AS u(saga_id, step)
WHERE c.saga_id = u.saga_id AND c.step = u.step AND c.status = 'OPEN'
"""

CLOCK = "SELECT now()"
