"""Write the schedules of the desk; what operators have changed stays as it is."""

from typing import Any

from django.db import migrations
from django.utils import timezone

from config.schedules import install


def forwards(apps: Any, schema_editor: Any) -> None:
    install(
        interval_model=apps.get_model("django_celery_beat", "IntervalSchedule"),
        task_model=apps.get_model("django_celery_beat", "PeriodicTask"),
    )
    changed = apps.get_model("django_celery_beat", "PeriodicTasks")
    changed.objects.update_or_create(ident=1, defaults={"last_update": timezone.now()})


class Migration(migrations.Migration):
    dependencies = [("composition", "0005_failed_sign_ins")]

    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
