"""Cases with the money that hangs on them, a person who has claimed them, notes, and indexes for the desk's list."""

import django.contrib.postgres.indexes
import django.contrib.postgres.search
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

APPEND_ONLY = """
CREATE TRIGGER sagas_append_only BEFORE UPDATE OR DELETE ON sagas_casenote
    FOR EACH ROW EXECUTE FUNCTION outbox_refuse_change();
CREATE TRIGGER sagas_no_truncate BEFORE TRUNCATE ON sagas_casenote
    FOR EACH STATEMENT EXECUTE FUNCTION outbox_refuse_change();
ALTER TABLE sagas_casenote ENABLE ALWAYS TRIGGER sagas_append_only;
ALTER TABLE sagas_casenote ENABLE ALWAYS TRIGGER sagas_no_truncate;
"""

# Cases that were opened before: of those of a saga, the saga knows.
MONEY = """
UPDATE sagas_case c
SET amount = CASE WHEN jsonb_typeof(s.data -> 'amount') = 'number' THEN (s.data ->> 'amount')::bigint END,
    currency = coalesce(s.data ->> 'currency', '')
FROM sagas_sagainstance s
WHERE s.id = c.saga_id AND c.amount IS NULL
"""

OPEN = models.Q(("status", "OPEN"))
CLOSED = models.Q(("status", "CLOSED"))


def index(*expressions, **options):
    return migrations.AddIndex(model_name="case", index=models.Index(*expressions, **options))


class Migration(migrations.Migration):
    dependencies = [("sagas", "0003_four_eyes"), ("outbox", "0002_message_log")]

    operations = [
        migrations.AlterModelOptions(
            name="case",
            options={
                "permissions": (
                    ("claim_case", "Can claim a case, release it, and take it over"),
                    ("note_case", "Can add a note to a case"),
                ),
            },
        ),
        migrations.AddField(
            model_name="case",
            name="amount",
            field=models.BigIntegerField(help_text="The money that hangs on it, in minor units.", null=True),
        ),
        migrations.AddField(
            model_name="case",
            name="currency",
            field=models.TextField(blank=True, db_default=""),
        ),
        migrations.AddField(
            model_name="case",
            name="claimed_at",
            field=models.DateTimeField(
                help_text="Since when a person has it; empty while nobody does.", null=True
            ),
        ),
        migrations.CreateModel(
            name="CaseNote",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("author", models.TextField()),
                (
                    "origin",
                    models.TextField(
                        blank=True, db_default="", help_text="The address of the desk's visitor, or the host."
                    ),
                ),
                ("text", models.TextField()),
                (
                    "case",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="notes", to="sagas.case"
                    ),
                ),
            ],
            options={"ordering": ("id",)},
        ),
        migrations.RunSQL(APPEND_ONLY, migrations.RunSQL.noop),
        migrations.RunSQL(MONEY, migrations.RunSQL.noop),
        index(fields=["opened_at"], name="sagas_case_opened", condition=OPEN),
        index(fields=["closed_at", "id"], name="sagas_case_closed", condition=CLOSED),
        index(
            models.OrderBy(models.F("status"), descending=True),
            models.OrderBy(models.F("closed_at"), descending=True, nulls_first=True),
            models.F("due_at"),
            models.F("id"),
            name="sagas_case_urgency",
        ),
        index(fields=["fingerprint", "status", "due_at"], name="sagas_case_group"),
        index(fields=["step", "direction", "status", "due_at"], name="sagas_case_step"),
        index(fields=["error_class", "status", "due_at"], name="sagas_case_class"),
        index(fields=["currency", "amount"], name="sagas_case_amount", condition=OPEN),
        index(
            fields=["owner", "due_at"],
            include=["fingerprint"],
            name="sagas_case_owner",
            condition=models.Q(("claimed_at__isnull", False), ("status", "OPEN")),
        ),
        index(
            fields=["due_at"],
            name="sagas_case_nobodys",
            condition=models.Q(("claimed_at__isnull", True), ("status", "OPEN")),
        ),
        index(
            fields=["fingerprint", "currency"],
            include=["amount", "opened_at", "due_at", "claimed_at", "id"],
            name="sagas_case_sums",
            condition=OPEN,
        ),
        index(fields=["resolution", "closed_at"], name="sagas_case_ended", condition=CLOSED),
        index(fields=["message_id"], name="sagas_case_message"),
        migrations.AddIndex(
            model_name="case",
            index=django.contrib.postgres.indexes.GinIndex(
                django.contrib.postgres.search.SearchVector("error_class", "error", config="simple"),
                name="sagas_case_words",
            ),
        ),
    ]
