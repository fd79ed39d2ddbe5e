"""What a person has paused, and the limit of compensations that a person has set."""

import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("outbox", "0004_gateway_calls")]

    operations = [
        migrations.CreateModel(
            name="Pause",
            fields=[
                ("destination", models.TextField(primary_key=True, serialize=False)),
                ("compensations_only", models.BooleanField(default=False)),
                ("paused_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("paused_by", models.TextField()),
                ("reason", models.TextField()),
                ("resumed_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.AddField(model_name="tokenbucket", name="per_second", field=models.IntegerField(null=True)),
        migrations.AddField(
            model_name="tokenbucket", name="changed_by", field=models.TextField(blank=True, db_default="")
        ),
        migrations.AddField(model_name="tokenbucket", name="changed_at", field=models.DateTimeField(null=True)),
        migrations.AddField(model_name="tokenbucket", name="reason", field=models.TextField(blank=True, db_default="")),
    ]
