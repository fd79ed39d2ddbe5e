"""The monitoring view: what the desk's first page reads instead of the hot tables.

A materialized view can only be refreshed by its owner, and the product's role owns nothing: so a function with the
rights of its owner does it. See docs/explanation/desk.md.
"""

from django.db import migrations, models

# Live sagas that stand alike. Index: sagas_live. Money of a saga that is neither stuck nor a minute old is not at risk.
# Told as text, and apart from the counting: to sort all of them as JSON takes twice as long.
LIVE_SAGAS = """
CREATE MATERIALIZED VIEW desk_live_sagas AS
WITH live AS MATERIALIZED (
    SELECT s.name AS saga, s.version, s.status, s.reason <> '' AS is_turning_back,
           s.status <> 'SUSPENDED' AND s.started_at > now() - interval '1 minute' AS is_settling,
           coalesce(s.data ->> 'currency', '') AS currency,
           CASE WHEN jsonb_typeof(s.data -> 'amount') = 'number' THEN (s.data ->> 'amount')::numeric END AS amount,
           (SELECT coalesce(jsonb_object_agg(step.key, jsonb_build_array(
                       coalesce(step.value ->> 'status', 'PENDING'),
                       coalesce(step.value ->> 'direction', 'action'))), '{}')
            FROM jsonb_each(s.steps) AS step)::text AS steps,
           s.started_at
    FROM sagas_sagainstance s
    WHERE s.status IN ('RUNNING', 'COMPENSATING', 'SUSPENDED')
)
SELECT saga, version, status, is_turning_back, is_settling, currency, md5(steps) AS digest, steps,
       count(*) AS sagas, coalesce(sum(amount), 0) AS amount, min(started_at) AS oldest_at
FROM live
GROUP BY saga, version, status, is_turning_back, is_settling, currency, steps;
CREATE UNIQUE INDEX desk_live_sagas_one
    ON desk_live_sagas (saga, version, status, is_turning_back, is_settling, currency, digest);
"""

# `reason` is what the error begins with, for the title of the group. Index: sagas_case_open.
OPEN_CASES = """
CREATE MATERIALIZED VIEW desk_open_cases AS
SELECT fingerprint, step, direction, destination, error_class, currency,
       left(min(split_part(error, ':', 1)), 200) AS reason,
       count(*) AS cases, coalesce(sum(amount), 0) AS amount, min(opened_at) AS oldest_at, min(due_at) AS due_at,
       count(*) FILTER (WHERE due_at < now()) AS overdue, count(*) FILTER (WHERE claimed_at IS NULL) AS unowned
FROM sagas_case
WHERE status = 'OPEN'
GROUP BY fingerprint, step, direction, destination, error_class, currency;
CREATE UNIQUE INDEX desk_open_cases_one
    ON desk_open_cases (fingerprint, step, direction, destination, error_class, currency);
"""

# Reads the whole queue twice: to count it, and to join what is due with what holds its key before it. To ask that of
# each delivery by itself takes many times as long.
QUEUE = """
CREATE MATERIALIZED VIEW desk_queue AS
WITH blocked AS (
    SELECT d.destination, d.lane, count(DISTINCT d.ordering_key) AS keys
    FROM outbox_delivery d
    WHERE d.dead_at IS NULL AND d.available_at <= now() AND EXISTS (
        SELECT FROM outbox_delivery e
        WHERE e.destination = d.destination AND e.ordering_key = d.ordering_key AND e.id < d.id
          AND e.available_at > now() AND (e.dead_at IS NULL OR e.kind = 'event'))
    GROUP BY d.destination, d.lane
), queue AS (
    SELECT destination, lane,
           count(*) FILTER (WHERE dead_at IS NULL AND token IS NULL) AS waiting,
           count(*) FILTER (WHERE token IS NOT NULL) AS in_flight,
           count(*) FILTER (WHERE dead_at IS NOT NULL) AS dead,
           min(message_time) FILTER (WHERE dead_at IS NULL) AS oldest_at
    FROM outbox_delivery
    GROUP BY destination, lane
)
SELECT queue.*, coalesce(blocked.keys, 0) AS blocked_keys FROM queue LEFT JOIN blocked USING (destination, lane);
CREATE UNIQUE INDEX desk_queue_one ON desk_queue (destination, lane);
"""

WAITING_APPROVALS = """
CREATE MATERIALIZED VIEW desk_waiting_approvals AS
SELECT action, currency, count(*) AS approvals, coalesce(sum(amount), 0) AS amount,
       min(requested_at) AS oldest_at, min(expires_at) AS expires_at
FROM sagas_approval
WHERE status = 'REQUESTED' AND expires_at > now()
GROUP BY action, currency;
CREATE UNIQUE INDEX desk_waiting_approvals_one ON desk_waiting_approvals (action, currency);
"""

REFRESH = """
CREATE FUNCTION desk_refresh_monitoring() RETURNS void LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    REFRESH MATERIALIZED VIEW CONCURRENTLY desk_live_sagas;
    REFRESH MATERIALIZED VIEW CONCURRENTLY desk_open_cases;
    REFRESH MATERIALIZED VIEW CONCURRENTLY desk_queue;
    REFRESH MATERIALIZED VIEW CONCURRENTLY desk_waiting_approvals;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("desk", "0001_index_of_what_turned_back"),
        ("outbox", "0003_partitions_of_the_owner"),
        ("sagas", "0004_cases_with_owner_and_money"),
    ]

    operations = [
        migrations.CreateModel(
            name="Measurement",
            fields=[
                ("id", models.SmallIntegerField(primary_key=True, serialize=False)),
                ("at", models.DateTimeField()),
                ("seconds", models.FloatField()),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="desk_measurement_single")
                ],
            },
        ),
        migrations.CreateModel(
            name="Minute",
            fields=[
                ("at", models.DateTimeField(primary_key=True, serialize=False)),
                ("started", models.IntegerField(db_default=0)),
                ("completed", models.IntegerField(db_default=0)),
                ("turned_back", models.IntegerField(db_default=0)),
                ("open_cases", models.IntegerField(null=True)),
                ("overdue", models.IntegerField(null=True)),
                ("lag_seconds", models.FloatField(null=True)),
                ("dead", models.IntegerField(null=True)),
                ("money", models.JSONField(null=True)),
            ],
            options={"ordering": ("-at",)},
        ),
        migrations.RunSQL(LIVE_SAGAS, "DROP MATERIALIZED VIEW desk_live_sagas"),
        migrations.RunSQL(OPEN_CASES, "DROP MATERIALIZED VIEW desk_open_cases"),
        migrations.RunSQL(QUEUE, "DROP MATERIALIZED VIEW desk_queue"),
        migrations.RunSQL(WAITING_APPROVALS, "DROP MATERIALIZED VIEW desk_waiting_approvals"),
        migrations.RunSQL(REFRESH, "DROP FUNCTION desk_refresh_monitoring()"),
    ]
