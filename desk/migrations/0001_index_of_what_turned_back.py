"""An index of the few sagas that did not go straight on, for the monitoring view: by id, which is by start.

It costs the others nothing. The engine changes `reason` together with the status, which other indexes look at
already, so no update leaves its page because of it. It belongs to the view and not to the model. It is made
while orders go on, so outside a transaction.
"""

from django.db import migrations

BACKWARD = "DROP INDEX CONCURRENTLY IF EXISTS desk_turned_back"
# An attempt that was broken off leaves an index that is not valid.
FORWARD = [
    BACKWARD,
    "CREATE INDEX CONCURRENTLY desk_turned_back ON sagas_sagainstance (id) "
    "WHERE reason <> '' OR status = 'ABANDONED'",
]


class Migration(migrations.Migration):
    initial = True
    atomic = False
    dependencies = [("sagas", "0003_four_eyes")]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
