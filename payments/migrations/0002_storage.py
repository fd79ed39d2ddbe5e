"""Keys are looked up whole: the second index that Django adds to a textual key, for LIKE, only costs."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = (("payments", "0001_initial"),)

    operations = (
        migrations.RunSQL(
            "DROP INDEX payments_payment_key_42f96794_like",
            reverse_sql="CREATE INDEX payments_payment_key_42f96794_like ON payments_payment (key varchar_pattern_ops)",
        ),
        migrations.RunSQL(
            "DROP INDEX payments_refund_key_914ff18d_like",
            reverse_sql="CREATE INDEX payments_refund_key_914ff18d_like ON payments_refund (key varchar_pattern_ops)",
        ),
        migrations.RunSQL(
            "DROP INDEX payments_refund_charge_key_d76b1296_like",
            reverse_sql="CREATE INDEX payments_refund_charge_key_d76b1296_like ON payments_refund (charge_key varchar_pattern_ops)",
        ),
    )
