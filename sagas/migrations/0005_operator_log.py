"""Where an operator acted from, what a request takes with it, lines of no order, indexes for the log's filters."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("sagas", "0004_cases_with_owner_and_money")]

    operations = [
        migrations.AlterModelOptions(
            name="operatoraction",
            options={
                "ordering": ("-id",),
                "permissions": (
                    ("retry_case", "Can retry a stuck step"),
                    ("skip_case", "Can skip a stuck step"),
                    ("resolve_case", "Can resolve a stuck step by hand"),
                    ("compensate_saga", "Can turn a saga back"),
                    ("abandon_case", "Can abandon a saga"),
                    ("approve_case", "Can approve what another person asked for"),
                    ("export_log", "Can export the operator log"),
                    ("switch", "Can pause destinations and turn the other switches"),
                ),
            },
        ),
        migrations.AddField(
            model_name="approval",
            name="origin",
            field=models.TextField(blank=True, db_default="", help_text="Where it was asked from."),
        ),
        migrations.AddField(
            model_name="approval",
            name="details",
            field=models.JSONField(help_text="What else the action takes: an edited payload, say.", null=True),
        ),
        migrations.AddField(
            model_name="operatoraction",
            name="origin",
            field=models.TextField(
                blank=True, db_default="", help_text="The address of the desk's visitor, or the host."
            ),
        ),
        # Less is asked of a row than before: code that does not know of it goes on writing the order.
        migrations.RunSQL(
            "ALTER TABLE sagas_operatoraction ALTER COLUMN key DROP NOT NULL",
            migrations.RunSQL.noop,
            state_operations=[
                migrations.AlterField(model_name="operatoraction", name="key", field=models.UUIDField(null=True))
            ],
        ),
        migrations.AddIndex(
            model_name="approval",
            index=models.Index(
                fields=["expires_at"], name="sagas_approval_waiting", condition=models.Q(("status", "REQUESTED"))
            ),
        ),
        migrations.AddIndex(
            model_name="operatoraction",
            index=models.Index(fields=["at"], name="sagas_log_at"),
        ),
        migrations.AddIndex(
            model_name="operatoraction",
            index=models.Index(fields=["operator", "id"], name="sagas_log_operator"),
        ),
        migrations.AddIndex(
            model_name="operatoraction",
            index=models.Index(fields=["action", "id"], name="sagas_log_action"),
        ),
        migrations.AddIndex(
            model_name="operatoraction",
            index=models.Index(fields=["result", "id"], name="sagas_log_result"),
        ),
        migrations.AddIndex(
            model_name="operatoraction",
            index=models.Index(fields=["key"], name="sagas_log_key"),
        ),
        migrations.AddIndex(
            model_name="operatoraction",
            index=models.Index(fields=["saga_id"], name="sagas_log_saga"),
        ),
        migrations.AddIndex(
            model_name="operatoraction",
            index=models.Index(fields=["case_id"], name="sagas_log_case"),
        ),
    ]
