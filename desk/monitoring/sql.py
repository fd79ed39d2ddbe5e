"""The statements of the monitoring view. Only the task that measures runs the first group; pages run the second."""

# --- measuring ---

# Two that measure at once would only wait for each other. Ends with the transaction, so a pooler does no harm.
TAKE_TURN = """
SELECT pg_try_advisory_xact_lock(hashtextextended('desk.monitoring', 0)), now()
"""

# Sets a limit for each statement of the transaction: when one takes longer all is rolled back, and the last view stays.
LIMIT = """
SELECT set_config('statement_timeout', %s, true)
"""

# Locks the views against another refresh, and nothing against reading or writing.
REFRESH = """
SELECT desk_refresh_monitoring()
"""

# Counts the sagas that began in each of these minutes, given with the least id that one begun in it can have.
# Index: primary key of sagas_sagainstance.
COUNT_STARTED = """
INSERT INTO desk_minute (at, started)
SELECT m.at, coalesce(s.many, 0)
FROM unnest(%b::timestamptz[]) WITH ORDINALITY AS m (at, bucket)
LEFT JOIN (
    SELECT width_bucket(id, %b::uuid[]) AS bucket, count(*) AS many
    FROM sagas_sagainstance WHERE id >= %b::uuid GROUP BY 1
) AS s ON s.bucket = m.bucket
ON CONFLICT (at) DO UPDATE SET started = excluded.started
"""

# Tells of the sagas begun in each of these minutes how many have turned back, and how many have completed: all but
# those that turned back, were abandoned, or are on their way. Indexes: desk_turned_back, sagas_live.
COUNT_ENDS = """
WITH astray AS (
    SELECT width_bucket(id, %b::uuid[]) AS bucket, count(*) AS many, count(*) FILTER (WHERE reason <> '') AS turned
    FROM sagas_sagainstance
    WHERE id >= %b::uuid AND (reason <> '' OR status = 'ABANDONED') GROUP BY 1
), going AS (
    SELECT width_bucket(id, %b::uuid[]) AS bucket, count(*) AS many
    FROM sagas_sagainstance
    WHERE id >= %b::uuid AND status IN ('RUNNING', 'COMPENSATING', 'SUSPENDED') AND reason = '' GROUP BY 1
), ends AS (
    SELECT d.at, coalesce(astray.turned, 0) AS turned_back,
           greatest(d.started - coalesce(astray.many, 0) - coalesce(going.many, 0), 0) AS completed
    FROM unnest(%b::timestamptz[]) WITH ORDINALITY AS m (at, bucket)
    JOIN desk_minute d ON d.at = m.at
    LEFT JOIN astray ON astray.bucket = m.bucket
    LEFT JOIN going ON going.bucket = m.bucket
)
UPDATE desk_minute d SET turned_back = ends.turned_back, completed = ends.completed
FROM ends
WHERE d.at = ends.at AND (d.turned_back, d.completed) IS DISTINCT FROM (ends.turned_back, ends.completed)
"""

# The lag of a minute is its highest.
NOTE_LEVELS = """
UPDATE desk_minute
SET open_cases = %s, overdue = %s, lag_seconds = greatest(lag_seconds, %s), dead = %s, money = %s::jsonb
WHERE at = %s
"""

NOTE_MEASUREMENT = """
INSERT INTO desk_measurement (id, at, seconds) VALUES (1, %s, %s)
ON CONFLICT (id) DO UPDATE SET at = excluded.at, seconds = excluded.seconds
"""

# --- reading ---

LIVE_SAGAS = """
SELECT saga, version, status, is_turning_back, is_settling, currency, steps, sagas, amount::bigint, oldest_at
FROM desk_live_sagas ORDER BY saga, version, status, digest, currency
"""

OPEN_CASES = """
SELECT fingerprint, step, direction, destination, error_class, currency, reason, cases, amount::bigint, oldest_at,
       due_at, overdue, unowned
FROM desk_open_cases ORDER BY due_at, fingerprint, step, direction, currency
"""

QUEUE = """
SELECT destination, lane, waiting, in_flight, dead, oldest_at, blocked_keys FROM desk_queue ORDER BY destination, lane
"""

WAITING_APPROVALS = """
SELECT action, currency, approvals, amount::bigint, oldest_at, expires_at FROM desk_waiting_approvals
ORDER BY expires_at, action, currency
"""

COUNT_OPEN_CASES = """
SELECT coalesce(sum(cases), 0)::bigint FROM desk_open_cases
"""
