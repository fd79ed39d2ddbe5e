"""The statements of the hot path. Each header says what it locks and which index serves it.

All are set-based: a batch of one and a batch of five hundred cost the same number of statements.
"""

from outbox.contracts import MessageDeadLettered

# Within any second a bucket lets through what it held and what flows in: together the limit, less a reserve. What is
# let through in one second may arrive in the next, and the reserve is what flows in within a fifth of a second.
HELD_SHARE = 0.1
FLOWING_SHARE = 0.75

# An earlier delivery of the same key to the same destination goes first. A dead event still blocks its key, so that
# order survives a dead letter; a dead command does not, since its saga decides what comes next. The notice of a dead
# letter overtakes, for the one it tells of may be what blocks it. A scalar subquery
# and not NOT EXISTS, which a planner with stale statistics of this fast-changing table turns into a join over all
# of it (measured: 240 ms instead of 1 ms for 500 rows).
_NOT_BLOCKED = f"""
    (d.type = '{MessageDeadLettered.wire_type}' OR d.id = (
        SELECT head.id FROM outbox_delivery head
        WHERE head.ordering_key = d.ordering_key
          AND head.destination = d.destination
          AND (head.dead_at IS NULL OR head.kind = 'event' OR head.id = d.id)
        ORDER BY head.id LIMIT 1
    ))
"""  # noqa: S608

_MESSAGE_COLUMNS = """
    m.id, m.time, m.kind, m.type, m.source, m.ordering_key, m.correlation_id, m.causation_id,
    m.headers::text, m.payload::text, extract(epoch FROM now())::float8
"""

# Writes both tables in one statement. Locks nothing that exists. Arrays: one row per message, then one row per
# message and destination; identities are drawn in array order, which is the order of publishing. What a relay settles
# with its replies goes along, for a round trip less.
PUBLISH = """
WITH said AS (
    INSERT INTO outbox_message
        (id, kind, type, version, source, ordering_key, correlation_id, causation_id, headers, payload)
    SELECT u.id, u.kind, u.type, u.version, u.source, u.ordering_key, u.correlation_id, u.causation_id,
           u.headers::jsonb, u.payload::jsonb
    FROM unnest(%b::uuid[], %b::text[], %b::text[], %b::smallint[], %b::text[], %b::uuid[], %b::uuid[], %b::uuid[],
                %b::text[], %b::text[])
        AS u(id, kind, type, version, source, ordering_key, correlation_id, causation_id, headers, payload)
), settled AS (
    DELETE FROM outbox_delivery WHERE id = ANY(%b::bigint[])
)
INSERT INTO outbox_delivery (message_id, message_time, destination, lane, kind, type, ordering_key)
SELECT u.message_id, now(), u.destination, u.lane, u.kind, u.type, u.ordering_key
FROM unnest(%b::uuid[], %b::text[], %b::text[], %b::text[], %b::text[], %b::uuid[])
    AS u(message_id, destination, lane, kind, type, ordering_key)
"""

# Which of these destinations have something due in this lane, from their floors on? Of one that a person has paused
# there is no answer: the rows of `outbox_pause` are a handful. Index: outbox_delivery_due.
DUE = """
SELECT wanted.destination, EXISTS (
    SELECT FROM outbox_delivery d
    WHERE d.lane = %s AND d.destination = wanted.destination AND d.available_at <= now()
      AND d.available_at >= wanted.floor
), now()
FROM unnest(%b::text[], %b::timestamptz[]) AS wanted(destination, floor)
WHERE NOT EXISTS (
    SELECT FROM outbox_pause p
    WHERE p.destination = wanted.destination AND p.resumed_at IS NULL
      AND (NOT p.compensations_only OR %s = 'compensations')
)
"""

# Locks the claimed deliveries until the transaction ends; skips what another relay holds. Materialised, or the
# planner may run the limited subquery twice and claim more than the limit. Index: outbox_delivery_due, then
# outbox_delivery_order for the blocked check, then the message's primary key.
CLAIM_JOINED = f"""
WITH due AS MATERIALIZED (
    SELECT d.id, d.message_id, d.message_time, d.attempts, d.error_class, d.available_at
    FROM outbox_delivery d
    WHERE d.lane = %s AND d.destination = %s AND d.type = ANY(%b::text[]) AND d.available_at <= now()
      AND {_NOT_BLOCKED}
      AND d.available_at >= %s
    ORDER BY d.available_at
    LIMIT %s
    FOR UPDATE OF d SKIP LOCKED
)
SELECT due.id, due.attempts + 1, due.error_class, {_MESSAGE_COLUMNS}, due.available_at
FROM due JOIN outbox_message m ON m.id = due.message_id AND m.time = due.message_time
ORDER BY due.id
"""  # noqa: S608

# The same for chosen deliveries: the halves of a batch that failed.
CLAIM_AGAIN = f"""
WITH due AS MATERIALIZED (
    SELECT d.id, d.message_id, d.message_time, d.attempts, d.error_class
    FROM outbox_delivery d
    WHERE d.id = ANY(%b::bigint[]) AND d.available_at <= now() AND {_NOT_BLOCKED}
    ORDER BY d.id
    FOR UPDATE OF d SKIP LOCKED
)
SELECT due.id, due.attempts + 1, due.error_class, {_MESSAGE_COLUMNS}
FROM due JOIN outbox_message m ON m.id = due.message_id AND m.time = due.message_time
ORDER BY due.id
"""  # noqa: S608

# Stamps lease and token on what it claims, which takes the rows out of every branch of the claim's predicate. The
# last column says that the compensation of this command already waits behind it.
CLAIM_LEASED = f"""
WITH due AS MATERIALIZED (
    SELECT d.id, d.available_at AS was_due_at
    FROM outbox_delivery d
    WHERE d.lane = %s AND d.destination = %s AND d.type = ANY(%b::text[]) AND d.available_at <= now()
      AND {_NOT_BLOCKED}
      AND d.available_at >= %s
    ORDER BY d.available_at
    LIMIT %s
    FOR UPDATE OF d SKIP LOCKED
), claimed AS (
    UPDATE outbox_delivery d
    SET token = %s, available_at = now() + make_interval(secs => %s), attempts = d.attempts + 1
    FROM due WHERE d.id = due.id
    RETURNING d.id, d.message_id, d.message_time, d.attempts, d.error_class, d.destination, d.ordering_key, d.lane,
              due.was_due_at
)
SELECT c.id, c.attempts, c.error_class, {_MESSAGE_COLUMNS},
       c.lane <> 'compensations' AND EXISTS (
           SELECT FROM outbox_delivery later
           WHERE later.destination = c.destination AND later.ordering_key = c.ordering_key
             AND later.id > c.id AND later.lane = 'compensations'
       ),
       c.was_due_at
FROM claimed c JOIN outbox_message m ON m.id = c.message_id AND m.time = c.message_time
ORDER BY c.id
"""  # noqa: S608

# While a gateway is away: whatever of these types is due, or would be before the next probe, rests until then and for a
# random while more; no attempt is counted. Skips what another relay holds, and bounded. Index: outbox_delivery_due.
PUT_OFF = """
WITH early AS MATERIALIZED (
    SELECT d.id FROM outbox_delivery d
    WHERE d.lane = %s AND d.destination = %s AND d.type = ANY(%b::text[])
      AND d.available_at < now() + make_interval(secs => %s) AND (d.token IS NULL OR d.available_at <= now())
    ORDER BY d.available_at
    LIMIT %s
    FOR UPDATE OF d SKIP LOCKED
)
UPDATE outbox_delivery d
SET available_at = now() + make_interval(secs => %s + random() * %s), token = NULL, error_class = %s, error = %s
FROM early WHERE d.id = early.id
"""

# What waits for a handler that its destination does not have. Locks nothing: CLAIM_AGAIN does. Reads the queue of one
# destination; run seldom.
UNCLAIMED = """
SELECT d.id FROM outbox_delivery d
WHERE d.destination = %s AND NOT d.type = ANY(%b::text[]) AND d.dead_at IS NULL AND d.token IS NULL
  AND d.available_at <= now() AND d.message_time < now() - make_interval(secs => %s)
ORDER BY d.id LIMIT %s
"""

# Locked by the claim of the same transaction. Index: primary key.
SETTLE = "DELETE FROM outbox_delivery WHERE id = ANY(%b::bigint[])"

# The fence: locks those deliveries that this relay still holds; one that slept past its lease finds another token,
# or nothing, and records nothing. Index: primary key.
FENCE = """
SELECT d.id FROM outbox_delivery d
JOIN unnest(%b::bigint[], %b::uuid[]) AS u(id, token) ON d.id = u.id AND d.token = u.token
ORDER BY d.id
FOR UPDATE OF d
"""

# Index: primary key.
RENEW = """
UPDATE outbox_delivery d SET available_at = now() + make_interval(secs => %s)
FROM unnest(%b::bigint[], %b::uuid[]) AS u(id, token)
WHERE d.id = u.id AND d.token = u.token
RETURNING d.id
"""

# Puts failed deliveries to rest until their next attempt, or for good, and writes the trail. The rows are locked by
# the claim or the fence of the same transaction. Index: primary key.
HOLD_BACK = """
WITH failed AS (
    SELECT * FROM unnest(%b::bigint[], %b::smallint[], %b::interval[], %b::text[], %b::text[], %b::text[], %b::text[])
        AS u(id, attempts, delay, decision, error_class, error, fingerprint)
), held AS (
    UPDATE outbox_delivery d
    SET attempts = f.attempts,
        available_at = CASE WHEN f.decision = 'dead' THEN timestamptz '9999-01-01 00:00+00' ELSE now() + f.delay END,
        dead_at = CASE WHEN f.decision = 'dead' THEN now() END,
        token = NULL, error_class = f.error_class, error = f.error, fingerprint = f.fingerprint
    FROM failed f
    WHERE d.id = f.id AND f.decision IN ('retry', 'wait', 'dead')
    RETURNING d.id
)
INSERT INTO outbox_attempt
    (message_id, ordering_key, destination, type, attempt, decision, error_class, error, fingerprint)
SELECT d.message_id, d.ordering_key, d.destination, d.type, f.attempts, f.decision, f.error_class, f.error,
       f.fingerprint
FROM failed f JOIN outbox_delivery d ON d.id = f.id
WHERE f.decision <> 'wait'
"""

# The calls of the outside world that led to the outcomes of a batch, oldest first. By the clock of this moment and not
# by that of the transaction, so that no call seems to begin before its command was given. Locks nothing.
RECORD_CALLS = """
INSERT INTO outbox_gateway_call
    (started_at, milliseconds, gateway, operation, method, path, key, request, status, answer, outcome, error,
     ordering_key, message_id, attempt, trace_id)
SELECT clock_timestamp() - make_interval(secs => u.age), u.milliseconds, u.gateway, u.operation, u.method, u.path,
       u.key, u.request, u.status, u.answer, u.outcome, u.error, u.ordering_key, u.message_id, u.attempt, u.trace_id
FROM unnest(%b::float8[], %b::int[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[],
            %b::smallint[], %b::text[], %b::text[], %b::text[], %b::uuid[], %b::uuid[], %b::smallint[], %b::text[])
    AS u(age, milliseconds, gateway, operation, method, path, key, request, status, answer, outcome, error,
         ordering_key, message_id, attempt, trace_id)
ORDER BY u.age DESC
"""

# Draws a new place in the order of the key, behind what is there. Locked by the claim. Index: primary key.
STEP_ASIDE = "UPDATE outbox_delivery SET id = DEFAULT WHERE id = ANY(%b::bigint[])"

# Insert first, never check then insert: the unique key settles the race. Waits for a concurrent holder of the place.
TAKE_INBOX = """
INSERT INTO outbox_inbox (consumer, message_id)
SELECT %s, u.id FROM unnest(%b::uuid[]) AS u(id) ORDER BY u.id
ON CONFLICT DO NOTHING
RETURNING message_id
"""

HANDLED = "SELECT message_id FROM outbox_inbox WHERE consumer = %s AND message_id = ANY(%b::uuid[])"

# In key order, so that two batches with common places cannot deadlock. Waits for a concurrent holder of the place.
TAKE_BARRIER = """
INSERT INTO outbox_barrier (saga_id, step, direction, message_id, settled)
SELECT u.saga_id, u.step, u.direction, u.message_id, %s
FROM unnest(%b::uuid[], %b::text[], %b::text[], %b::uuid[]) AS u(saga_id, step, direction, message_id)
ORDER BY u.saga_id, u.step, u.direction
ON CONFLICT DO NOTHING
RETURNING saga_id, step, direction
"""

# Places that this very message took on an earlier try and whose outcome is not recorded yet. Index: primary key.
OPEN_PLACES = """
SELECT b.message_id
FROM unnest(%b::uuid[], %b::text[], %b::text[], %b::uuid[]) AS u(saga_id, step, direction, message_id)
JOIN outbox_barrier b
  ON b.saga_id = u.saga_id AND b.step = u.step AND b.direction = u.direction AND b.message_id = u.message_id
WHERE NOT b.settled
"""

SETTLE_BARRIER = """
UPDATE outbox_barrier b SET settled = TRUE
FROM unnest(%b::uuid[], %b::text[], %b::text[]) AS u(saga_id, step, direction)
WHERE b.saga_id = u.saga_id AND b.step = u.step AND b.direction = u.direction
"""

# Taken earlier in the same transaction. Index: primary keys.
GIVE_BACK_BARRIER = """
DELETE FROM outbox_barrier b
USING unnest(%b::uuid[], %b::text[], %b::text[]) AS u(saga_id, step, direction)
WHERE b.saga_id = u.saga_id AND b.step = u.step AND b.direction = u.direction
"""
GIVE_BACK_INBOX = "DELETE FROM outbox_inbox WHERE consumer = %s AND message_id = ANY(%b::uuid[])"

# One row for all workers, with a limit of its own while an operator has set one. `capacity` is the most it holds, what
# flows in within a second is the rest of the limit: see `outbox.bucket` for the shares.
TAKE_TOKENS = f"""
UPDATE outbox_tokenbucket b
SET tokens = full_now.tokens - floor(least(%s, full_now.tokens)), refilled_at = clock_timestamp()
FROM (
    SELECT name, least(capacity, tokens + extract(epoch FROM clock_timestamp() - refilled_at)
        * least(per_second * {FLOWING_SHARE}, greatest(per_second - capacity, per_second * {HELD_SHARE}))) AS tokens
    FROM (
        SELECT name, tokens, refilled_at, coalesce(per_second, %s::float8) AS per_second,
               greatest(%s::float8, coalesce(per_second, %s::float8) * {HELD_SHARE}) AS capacity
        FROM outbox_tokenbucket WHERE name = %s FOR UPDATE
    ) bucket
) full_now
WHERE b.name = full_now.name
RETURNING floor(least(%s, full_now.tokens))::int
"""  # noqa: S608

# A bucket that nobody has taken from yet begins empty.
ADD_BUCKET = "INSERT INTO outbox_tokenbucket (name, tokens, refilled_at) VALUES (%s, 0, now()) ON CONFLICT DO NOTHING"

GIVE_BACK_TOKENS = "UPDATE outbox_tokenbucket SET tokens = tokens + %s WHERE name = %s"
