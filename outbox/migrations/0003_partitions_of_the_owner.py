"""Let a role that does not own the log have its partitions made: the function does it with the rights of its owner."""

from django.db import migrations

FORWARD = "ALTER FUNCTION outbox_create_partition(date) SECURITY DEFINER SET search_path = public, pg_temp"
BACKWARD = "ALTER FUNCTION outbox_create_partition(date) SECURITY INVOKER RESET search_path"


class Migration(migrations.Migration):
    dependencies = [("outbox", "0002_message_log")]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
