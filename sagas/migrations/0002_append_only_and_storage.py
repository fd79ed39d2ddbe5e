"""The operator log is append-only, and a running saga's updates stay within their page."""

from django.db import migrations

APPEND_ONLY = """
CREATE TRIGGER sagas_append_only BEFORE UPDATE OR DELETE ON sagas_operatoraction
    FOR EACH ROW EXECUTE FUNCTION outbox_refuse_change();
CREATE TRIGGER sagas_no_truncate BEFORE TRUNCATE ON sagas_operatoraction
    FOR EACH STATEMENT EXECUTE FUNCTION outbox_refuse_change();
ALTER TABLE sagas_operatoraction ENABLE ALWAYS TRIGGER sagas_append_only;
ALTER TABLE sagas_operatoraction ENABLE ALWAYS TRIGGER sagas_no_truncate;
"""

# An instance is written about five times: half of each page is left for that.
STORAGE = """
ALTER TABLE sagas_sagainstance SET (
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0
);
"""


class Migration(migrations.Migration):
    dependencies = [("sagas", "0001_initial"), ("outbox", "0002_message_log")]

    operations = [
        migrations.RunSQL(APPEND_ONLY, migrations.RunSQL.noop),
        migrations.RunSQL(STORAGE, migrations.RunSQL.noop),
    ]
