"""A person at the desk looks for an order by the id that the gateway gave its charge or its refund."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Checkout goes on while a large table gets its index.
    atomic = False

    dependencies = [("payments", "0003_reconciliation")]

    operations = [
        AddIndexConcurrently(
            model_name="payment",
            index=models.Index(
                fields=["reference"],
                name="payments_payment_reference",
                condition=models.Q(("reference", ""), _negated=True),
            ),
        ),
        AddIndexConcurrently(
            model_name="refund",
            index=models.Index(
                fields=["reference"],
                name="payments_refund_reference",
                condition=models.Q(("reference", ""), _negated=True),
            ),
        ),
    ]
