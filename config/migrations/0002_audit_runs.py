"""Where the scheduled audit notes how far it has looked."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("composition", "0001_schedules")]

    operations = [
        migrations.CreateModel(
            name="AuditRun",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField()),
                ("since_at", models.DateTimeField()),
                ("keys", models.BigIntegerField(help_text="How many ordering keys were looked at.")),
                ("findings", models.JSONField()),
            ],
            options={"indexes": [models.Index(fields=["at"], name="composition_auditrun_at")]},
        ),
    ]
