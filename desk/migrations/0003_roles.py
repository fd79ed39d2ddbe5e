"""Make the roles of the desk, as groups; what an administrator has changed of them stays as it is."""

from typing import Any

from django.db import migrations

from desk import roles


def forwards(_apps: Any, schema_editor: Any) -> None:
    # The permissions of all models as this release has them, not as they were when this was written: a role is to have
    # those, and on a new database nobody has declared them yet.
    roles.install(using=schema_editor.connection.alias)


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("desk", "0002_bulk_runs"),
    ]

    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
