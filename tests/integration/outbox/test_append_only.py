"""What was said and what went wrong cannot be changed afterwards, by nobody and in no partition."""

from datetime import date

import pytest
from django.db import IntegrityError, connection, transaction
from uuid_utils.compat import uuid7

from outbox.models import Message
from tests.messaging import Noted, execute, say

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["outbox"])

TABLES = ("outbox_message", "outbox_message_default", "today", "new", "outbox_attempt")
FAR = date(2055, 5, 5)


@pytest.fixture(autouse=True)
def _said(wiring: object) -> None:
    """Have a row in every table: a trigger for rows says nothing about an empty one."""
    say(Noted())
    execute(
        "INSERT INTO outbox_attempt (message_id, ordering_key, destination, type, attempt, decision, error_class,"
        " error, fingerprint) VALUES (%s, %s, 'tester', 'test.noted', 1, 'retry', '', '', '')",
        uuid7(),
        uuid7(),
    )


def name_of(table: str) -> str:
    """Return the real name of a partition; the new one is made here, and goes with the transaction."""
    if table == "today":
        return str(execute("SELECT 'outbox_message_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')")[0][0])
    if table == "new":
        execute("SELECT outbox_create_partition(%s)", FAR)
        say_at("2055-05-05 12:00+00")
        return f"outbox_message_{FAR:%Y%m%d}"
    if table == "outbox_message_default":
        say_at("2099-01-01 12:00+00")
    return table


def say_at(time: str) -> None:
    execute(
        "INSERT INTO outbox_message (id, time, kind, type, version, source, ordering_key, headers, payload)"
        " VALUES (%s, %s::timestamptz, 'event', 'test.noted', 1, 'test', %s, '{}', '{}')",
        uuid7(),
        time,
        uuid7(),
    )


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("change", ["UPDATE {} SET type = 'another'", "DELETE FROM {}", "TRUNCATE {}"])
def test_the_trail_cannot_be_changed(table: str, change: str) -> None:
    with transaction.atomic():
        name = name_of(table)
        [(before,)] = execute(f"SELECT count(*) FROM {name}")
        assert before > 0
        with pytest.raises(IntegrityError, match="is append-only"), transaction.atomic():
            execute(change.format(name))
        [(after,)] = execute(f"SELECT count(*) FROM {name}")
        transaction.set_rollback(True)

    assert after == before


@pytest.mark.parametrize("table", TABLES)
def test_the_guards_hold_for_a_replica_role_too(table: str) -> None:
    with transaction.atomic():
        name = name_of(table)
        execute("SET LOCAL session_replication_role = replica")
        for change in (f"UPDATE {name} SET type = 'another'", f"DELETE FROM {name}", f"TRUNCATE {name}"):
            with pytest.raises(IntegrityError, match="is append-only"), transaction.atomic():
                execute(change)
        transaction.set_rollback(True)


def test_the_models_cannot_change_a_message_either() -> None:
    [message_id] = say(Noted())

    with pytest.raises(IntegrityError, match="is append-only"):
        Message.objects.filter(id=message_id).update(source="another")
    with pytest.raises(IntegrityError, match="is append-only"):
        Message.objects.filter(id=message_id).delete()

    assert Message.objects.get(id=message_id).source == "test"


def test_the_flush_between_tests_leaves_the_guards_on() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tgenabled::text FROM pg_trigger WHERE tgname LIKE '%no_truncate'")
        states = {row[0] for row in cursor.fetchall()}

    assert states == {"A"}
