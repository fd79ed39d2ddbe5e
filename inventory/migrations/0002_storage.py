"""Stock is the hottest table: room on each page lets an update stay there without touching the index."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = (("inventory", "0001_initial"),)

    operations = (
        migrations.RunSQL(
            """
            ALTER TABLE inventory_stock SET (
                fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000
            )
            """,
            reverse_sql="""
            ALTER TABLE inventory_stock RESET (
                fillfactor, autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold
            )
            """,
        ),
    )
