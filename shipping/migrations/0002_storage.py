"""Keys are looked up whole: the second index that Django adds to a textual key, for LIKE, only costs."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = (("shipping", "0001_initial"),)

    operations = (
        migrations.RunSQL(
            "DROP INDEX shipping_shipment_key_3978efdf_like",
            reverse_sql="CREATE INDEX shipping_shipment_key_3978efdf_like ON shipping_shipment (key varchar_pattern_ops)",
        ),
    )
