"""History is dropped by the day, and never while something of it is unsent."""

import time
from collections.abc import Iterator
from datetime import date, timedelta
from uuid import UUID

import pytest
from pytest_django import Settings
from uuid_utils.compat import uuid7

from outbox.models import InboxEntry, Message
from outbox.retention import DAYS_AHEAD, create_partitions, drop_expired, prune_handled
from tests.messaging import Clerk, Noted, Wiring, drain, execute, make_due, second_connection, waiting

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["outbox"])

KEPT_DAYS = 5


@pytest.fixture(autouse=True)
def clerk(wiring: Wiring, settings: Settings) -> Iterator[Clerk]:
    """Old partitions, -9 to -3 days from today, and somebody who takes what is in them."""
    settings.MESSAGE_RETENTION_DAYS = KEPT_DAYS
    clerk = Clerk()
    wiring.consumer({Noted: clerk.joined()})
    for days in range(3, 10):
        execute("SELECT outbox_create_partition(%s)", day(days))
    yield clerk
    for days in range(3, 10):
        execute(f"DROP TABLE IF EXISTS {partition(days)}")


def day(days_ago: int) -> date:
    [(today,)] = execute("SELECT (now() AT TIME ZONE 'UTC')::date")
    result: date = today - timedelta(days=days_ago)
    return result


def partition(days_ago: int) -> str:
    return f"outbox_message_{day(days_ago):%Y%m%d}"


def partitions() -> list[str]:
    """Return the partitions before the day before yesterday."""
    rows = execute(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = 'outbox_message'::regclass AND c.relname ~ '[0-9]{8}$' ORDER BY 1"
    )
    return [name for (name,) in rows if name <= partition(3)]


def said(days_ago: int, *, waits: bool) -> UUID:
    """Put a message into the log as if it had been said then, with a delivery that still waits or none."""
    message_id, key = uuid7(), uuid7()
    at = f"{day(days_ago)} 23:59:59+00"
    execute(
        "INSERT INTO outbox_message (id, time, kind, type, version, source, ordering_key, headers, payload)"
        " VALUES (%s, %s::timestamptz, 'event', 'test.noted', 1, 'test', %s, '{}', '{\"number\": 1}')",
        message_id,
        at,
        key,
    )
    if waits:
        execute(
            "INSERT INTO outbox_delivery (message_id, message_time, destination, lane, kind, type, ordering_key)"
            " VALUES (%s, %s::timestamptz, 'tester', 'relay', 'event', 'test.noted', %s)",
            message_id,
            at,
            key,
        )
    return message_id


def test_partitions_past_retention_are_dropped_and_no_others() -> None:
    kept = said(KEPT_DAYS, waits=False)
    gone = said(KEPT_DAYS + 1, waits=False)

    dropped = drop_expired()

    assert dropped == [partition(days) for days in (9, 8, 7, 6)]
    assert partitions() == [partition(days) for days in (5, 4, 3)]
    assert Message.objects.filter(id=kept).exists()
    assert not Message.objects.filter(id=gone).exists()


def test_a_partition_with_an_undelivered_message_stays_with_all_that_follow(clerk: Clerk) -> None:
    said(9, waits=False)
    unsent = said(7, waits=True)

    assert drop_expired() == [partition(9), partition(8)]
    drain()
    assert clerk.numbers == [1]
    assert drop_expired() == [partition(7), partition(6)]

    assert not Message.objects.filter(id=unsent).exists()


def test_a_dead_letter_keeps_its_message_for_as_long_as_it_lies_there(clerk: Clerk) -> None:
    clerk.answer = lambda _: 1 / 0  # type: ignore[assignment, return-value]
    unsent = said(8, waits=True)
    for _ in range(3):
        drain()
        make_due()

    assert drop_expired() == [partition(9)]

    assert waiting() == [unsent]
    assert Message.objects.filter(id=unsent).exists()


def test_keeping_partitions_twice_does_nothing_more() -> None:
    create_partitions()
    before = execute("SELECT count(*) FROM pg_inherits WHERE inhparent = 'outbox_message'::regclass")

    create_partitions()

    assert execute("SELECT count(*) FROM pg_inherits WHERE inhparent = 'outbox_message'::regclass") == before
    drop_expired()
    assert drop_expired() == []


def test_today_and_two_weeks_ahead_have_a_partition_each() -> None:
    create_partitions()

    rows = execute("SELECT relname FROM pg_class WHERE relname ~ '^outbox_message_[0-9]{8}$'")
    names = {name for (name,) in rows}
    assert {partition(-days) for days in range(15)} <= names


def test_the_default_partition_catches_what_has_none_and_is_delivered_from_there(clerk: Clerk) -> None:
    message_id = said(40, waits=True)
    table = execute("SELECT tableoid::regclass::text FROM outbox_message WHERE id = %s", message_id)
    assert table == [("outbox_message_default",)]

    drain()

    assert clerk.numbers == [1]
    # Its day cannot have a partition any more, and asking for one does no harm.
    execute("SELECT outbox_create_partition(%s)", day(40))
    assert execute("SELECT to_regclass(%s)", partition(40)) == [(None,)]


def test_what_was_handled_is_forgotten_past_its_own_retention(settings: Settings) -> None:
    settings.INBOX_RETENTION_DAYS = 30
    old, young = (InboxEntry.objects.create(consumer="tester", message_id=uuid7()) for _ in range(2))
    execute("UPDATE outbox_inbox SET at = now() - interval '31 days' WHERE message_id = %s", old.message_id)

    assert prune_handled() == 1

    assert list(InboxEntry.objects.values_list("message_id", flat=True)) == [young.message_id]


def test_who_reads_the_log_for_hours_holds_up_neither_publishers_nor_the_sweep() -> None:
    """A dump holds its lock; a sweep that waited for it would make every publisher wait in turn."""
    far = 30
    with second_connection() as reader:
        reader.execute("SELECT 1 FROM outbox_message LIMIT 1")

        begun = time.monotonic()
        create_partitions(days=far)
        dropped = drop_expired()

        assert time.monotonic() - begun < 2
        assert dropped == []
        assert execute("SELECT to_regclass(%s)", partition(-far)) == [(None,)]

    create_partitions(days=far)
    assert execute("SELECT to_regclass(%s) IS NOT NULL", partition(-far)) == [(True,)]
    assert drop_expired() == [partition(days) for days in (9, 8, 7, 6)]
    for days in range(DAYS_AHEAD + 1, far + 1):
        execute(f"DROP TABLE {partition(-days)}")


def test_no_age_alone_ever_removes_what_waits(clerk: Clerk) -> None:
    unsent = said(9, waits=True)
    execute("UPDATE outbox_delivery SET available_at = now() - interval '9 days'")

    drop_expired()
    prune_handled()

    assert waiting() == [unsent]
