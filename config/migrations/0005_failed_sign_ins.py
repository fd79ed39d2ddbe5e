"""Name the failed sign-ins that django-axes counts, so that the desk can show them and roles can name them."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("axes", "0010_accessattemptexpiration"), ("composition", "0004_reconciliation_schedules")]

    operations = [
        migrations.CreateModel(
            name="FailedSignIn",
            fields=[],
            options={
                "verbose_name": "failed sign-in",
                "permissions": (("unlock_signin", "Can let somebody sign in again"),),
                "default_permissions": ("view",),
                "proxy": True,
                "indexes": [],
                "constraints": [],
            },
            bases=("axes.accessattempt",),
        ),
    ]
