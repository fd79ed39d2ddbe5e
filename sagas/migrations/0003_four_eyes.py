"""Requests that a second person approves, and his name in the operator log."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("sagas", "0002_append_only_and_storage")]

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
                ),
            },
        ),
        migrations.AddField(
            model_name="operatoraction",
            name="approved_by",
            field=models.TextField(blank=True, db_default=""),
        ),
        migrations.CreateModel(
            name="Approval",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.UUIDField()),
                ("action", models.TextField()),
                ("reason", models.TextField()),
                ("reference", models.TextField(blank=True)),
                ("amount", models.BigIntegerField(help_text="What the saga is about, in minor units.", null=True)),
                ("currency", models.TextField(blank=True)),
                (
                    "status",
                    models.TextField(
                        choices=[
                            ("REQUESTED", "Requested"),
                            ("CARRIED_OUT", "Carried Out"),
                            ("DECLINED", "Declined"),
                            ("LAPSED", "Lapsed"),
                        ],
                        default="REQUESTED",
                    ),
                ),
                ("requested_by", models.TextField()),
                ("requested_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "seen_at",
                    models.DateTimeField(help_text="When the saga that was seen had last changed.", null=True),
                ),
                ("expires_at", models.DateTimeField()),
                ("decided_by", models.TextField(blank=True)),
                ("decided_at", models.DateTimeField(null=True)),
                (
                    "case",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="approvals",
                        to="sagas.case",
                    ),
                ),
                (
                    "saga",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="approvals",
                        to="sagas.sagainstance",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("saga__isnull", False), ("status", "REQUESTED")),
                        fields=("saga",),
                        name="sagas_one_request_per_saga",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("case__isnull", False), ("status", "REQUESTED")),
                        fields=("case",),
                        name="sagas_one_request_per_case",
                    ),
                ],
            },
        ),
    ]
