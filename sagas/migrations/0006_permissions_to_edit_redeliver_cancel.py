"""Permissions of their own for editing a message, delivering an event again, and cancelling an order."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("sagas", "0005_operator_log")]

    operations = [
        migrations.AlterModelOptions(
            name="operatoraction",
            options={
                "ordering": ("-id",),
                "verbose_name": "line of the operator log",
                "verbose_name_plural": "operator log",
                "permissions": (
                    ("retry_case", "Can retry a stuck step"),
                    ("skip_case", "Can skip a stuck step"),
                    ("resolve_case", "Can resolve a stuck step by hand"),
                    ("compensate_saga", "Can turn a saga back"),
                    ("abandon_case", "Can abandon a saga"),
                    ("approve_case", "Can approve what another person asked for"),
                    ("export_log", "Can export the operator log"),
                    ("switch", "Can pause destinations and turn the other switches"),
                    ("edit_message", "Can edit a message that could not be handled, and send it again"),
                    ("redeliver_message", "Can deliver an event to a consumer again"),
                    ("cancel_order", "Can cancel an order"),
                ),
            },
        ),
    ]
