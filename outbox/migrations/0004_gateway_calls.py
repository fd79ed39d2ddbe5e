"""The record of calls to the outside world: partitioned by day, append-only, like the log of messages."""

from django.db import migrations, models

CALLS = """
CREATE SEQUENCE outbox_gateway_call_id AS bigint CACHE 1;

CREATE TABLE outbox_gateway_call (
    id bigint NOT NULL DEFAULT nextval('outbox_gateway_call_id'),
    started_at timestamptz NOT NULL,
    milliseconds int NOT NULL,
    gateway text NOT NULL,
    operation text NOT NULL,
    method text NOT NULL,
    path text NOT NULL,
    key text NOT NULL,
    request text NOT NULL,
    status smallint,
    answer text NOT NULL,
    outcome text NOT NULL,
    error text NOT NULL,
    ordering_key uuid NOT NULL,
    message_id uuid,
    attempt smallint NOT NULL,
    trace_id text NOT NULL,
    PRIMARY KEY (id, started_at)
) PARTITION BY RANGE (started_at);
CREATE INDEX outbox_gateway_call_order ON outbox_gateway_call (ordering_key);
CREATE TABLE outbox_gateway_call_default PARTITION OF outbox_gateway_call DEFAULT;

CREATE TRIGGER outbox_append_only BEFORE UPDATE OR DELETE ON outbox_gateway_call
    FOR EACH ROW EXECUTE FUNCTION outbox_refuse_change();
CREATE TRIGGER outbox_no_truncate BEFORE TRUNCATE ON outbox_gateway_call
    FOR EACH STATEMENT EXECUTE FUNCTION outbox_refuse_change();
CREATE TRIGGER outbox_no_truncate BEFORE TRUNCATE ON outbox_gateway_call_default
    FOR EACH STATEMENT EXECUTE FUNCTION outbox_refuse_change();
ALTER TABLE outbox_gateway_call ENABLE ALWAYS TRIGGER outbox_append_only;
ALTER TABLE outbox_gateway_call ENABLE ALWAYS TRIGGER outbox_no_truncate;
ALTER TABLE outbox_gateway_call_default ENABLE ALWAYS TRIGGER outbox_append_only;
ALTER TABLE outbox_gateway_call_default ENABLE ALWAYS TRIGGER outbox_no_truncate;

-- As outbox_create_partition does for messages, and with the rights of its owner too.
CREATE FUNCTION outbox_create_call_partition(day date) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    name text := 'outbox_gateway_call_' || to_char(day, 'YYYYMMDD');
    starts timestamptz := day::timestamp AT TIME ZONE 'UTC';
    ends timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
BEGIN
    IF to_regclass(name) IS NOT NULL
       OR EXISTS (SELECT FROM outbox_gateway_call_default WHERE started_at >= starts AND started_at < ends) THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE %I PARTITION OF outbox_gateway_call FOR VALUES FROM (%L) TO (%L)',
                   name, starts, ends);
    EXECUTE format('CREATE TRIGGER outbox_no_truncate BEFORE TRUNCATE ON %I '
                   'FOR EACH STATEMENT EXECUTE FUNCTION outbox_refuse_change()', name);
    EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER outbox_append_only', name);
    EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER outbox_no_truncate', name);
END $$;

SELECT outbox_create_call_partition((now() AT TIME ZONE 'UTC')::date + n) FROM generate_series(-1, 14) AS n;
"""


class Migration(migrations.Migration):
    dependencies = [("outbox", "0003_partitions_of_the_owner")]

    operations = [
        migrations.RunSQL(
            CALLS,
            "DROP TABLE outbox_gateway_call; DROP SEQUENCE outbox_gateway_call_id;"
            "DROP FUNCTION outbox_create_call_partition(date)",
        ),
        migrations.CreateModel(
            name="GatewayCall",
            fields=[
                ("id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("started_at", models.DateTimeField()),
                ("milliseconds", models.IntegerField()),
                ("gateway", models.TextField()),
                ("operation", models.TextField()),
                ("method", models.TextField()),
                ("path", models.TextField()),
                ("key", models.TextField()),
                ("request", models.TextField()),
                ("status", models.SmallIntegerField(null=True)),
                ("answer", models.TextField()),
                ("outcome", models.TextField()),
                ("error", models.TextField()),
                ("ordering_key", models.UUIDField(help_text="The order id.")),
                ("message_id", models.UUIDField(null=True)),
                ("attempt", models.SmallIntegerField()),
                ("trace_id", models.TextField()),
            ],
            options={
                "db_table": "outbox_gateway_call",
                "ordering": ("-id",),
                "permissions": (("export_evidence", "Can download the evidence of an order"),),
                "managed": False,
            },
        ),
    ]
