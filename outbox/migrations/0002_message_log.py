"""What Django's schema language does not know: the partitioned log with its triggers, and storage of the hot tables."""

from django.db import migrations

LOG = """
CREATE SEQUENCE outbox_message_sequence AS bigint CACHE 1;

CREATE TABLE outbox_message (
    id uuid NOT NULL,
    time timestamptz NOT NULL DEFAULT now(),
    sequence bigint NOT NULL DEFAULT nextval('outbox_message_sequence'),
    kind text NOT NULL CHECK (kind IN ('command', 'event')),
    type text NOT NULL,
    version smallint NOT NULL,
    source text NOT NULL,
    ordering_key uuid NOT NULL,
    correlation_id uuid,
    causation_id uuid,
    headers jsonb NOT NULL,
    payload jsonb NOT NULL,
    PRIMARY KEY (id, time)
) PARTITION BY RANGE (time);
CREATE INDEX outbox_message_key ON outbox_message (ordering_key);
CREATE TABLE outbox_message_default PARTITION OF outbox_message DEFAULT;

CREATE FUNCTION outbox_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER outbox_append_only BEFORE UPDATE OR DELETE ON outbox_message
    FOR EACH ROW EXECUTE FUNCTION outbox_refuse_change();
CREATE TRIGGER outbox_no_truncate BEFORE TRUNCATE ON outbox_message
    FOR EACH STATEMENT EXECUTE FUNCTION outbox_refuse_change();
CREATE TRIGGER outbox_no_truncate BEFORE TRUNCATE ON outbox_message_default
    FOR EACH STATEMENT EXECUTE FUNCTION outbox_refuse_change();
ALTER TABLE outbox_message ENABLE ALWAYS TRIGGER outbox_append_only;
ALTER TABLE outbox_message ENABLE ALWAYS TRIGGER outbox_no_truncate;
ALTER TABLE outbox_message_default ENABLE ALWAYS TRIGGER outbox_append_only;
ALTER TABLE outbox_message_default ENABLE ALWAYS TRIGGER outbox_no_truncate;

-- Makes the partition of one day (UTC) with the same guards. Does nothing when it exists, or when the default
-- partition has caught messages of that day already: they stay where they are.
CREATE FUNCTION outbox_create_partition(day date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    name text := 'outbox_message_' || to_char(day, 'YYYYMMDD');
    starts timestamptz := day::timestamp AT TIME ZONE 'UTC';
    ends timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
BEGIN
    IF to_regclass(name) IS NOT NULL
       OR EXISTS (SELECT FROM outbox_message_default WHERE time >= starts AND time < ends) THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE %I PARTITION OF outbox_message FOR VALUES FROM (%L) TO (%L)', name, starts, ends);
    EXECUTE format('CREATE TRIGGER outbox_no_truncate BEFORE TRUNCATE ON %I '
                   'FOR EACH STATEMENT EXECUTE FUNCTION outbox_refuse_change()', name);
    EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER outbox_append_only', name);
    EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER outbox_no_truncate', name);
END $$;

SELECT outbox_create_partition((now() AT TIME ZONE 'UTC')::date + n) FROM generate_series(-1, 14) AS n;
"""

ATTEMPTS = """
CREATE TRIGGER outbox_append_only BEFORE UPDATE OR DELETE ON outbox_attempt
    FOR EACH ROW EXECUTE FUNCTION outbox_refuse_change();
CREATE TRIGGER outbox_no_truncate BEFORE TRUNCATE ON outbox_attempt
    FOR EACH STATEMENT EXECUTE FUNCTION outbox_refuse_change();
ALTER TABLE outbox_attempt ENABLE ALWAYS TRIGGER outbox_append_only;
ALTER TABLE outbox_attempt ENABLE ALWAYS TRIGGER outbox_no_truncate;
"""

# The queue turns over completely within seconds: room for updates in the page, and a vacuum by number of dead rows,
# not by share of the table.
STORAGE = """
ALTER TABLE outbox_delivery SET (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000,
    autovacuum_analyze_scale_factor = 0.0, autovacuum_analyze_threshold = 50000,
    autovacuum_vacuum_cost_delay = 0
);
ALTER TABLE outbox_barrier SET (fillfactor = 90);
"""

BUCKET = "INSERT INTO outbox_tokenbucket (name, tokens) VALUES ('compensations', 1)"


class Migration(migrations.Migration):
    dependencies = [("outbox", "0001_initial")]

    operations = [
        migrations.RunSQL(
            LOG,
            "DROP TABLE outbox_message; DROP SEQUENCE outbox_message_sequence;"
            "DROP FUNCTION outbox_create_partition(date); DROP FUNCTION outbox_refuse_change() CASCADE",
        ),
        migrations.RunSQL(ATTEMPTS, migrations.RunSQL.noop),
        migrations.RunSQL(STORAGE, migrations.RunSQL.noop),
        migrations.RunSQL(BUCKET, "DELETE FROM outbox_tokenbucket"),
    ]
