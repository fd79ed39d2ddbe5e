"""The commands for the outbox: what waits, what is dead, what is delivered again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from uuid_utils.compat import uuid7

from outbox.models import Delivery
from tests.command_line import run
from tests.factories.cases import refused_event, refused_refund, running_saga

pytestmark = pytest.mark.django_db


def test_an_empty_queue_is_said_to_be_empty() -> None:
    ended = run("outbox_status")

    assert (ended.code, ended.out, ended.err) == (0, "Nothing waits.\n\nBlocked keys: 0\n", "")


def test_the_queue_is_shown_by_destination() -> None:
    running_saga()

    ended = run("outbox_status")

    rows = [line.split() for line in ended.out.splitlines()]
    assert rows[0] == ["destination", "lane", "waiting", "in", "flight", "dead", "oldest", "(s)"]
    assert [row[:5] for row in rows[1:4]] == [
        ["analytics", "relay", "1", "0", "0"],
        ["inventory", "relay", "1", "0", "0"],
        ["sagas", "relay", "1", "0", "0"],
    ]
    assert (ended.code, ended.err) == (0, "")


def test_dead_deliveries_are_findings() -> None:
    refused_refund()
    refused_event()

    ended = run("outbox_status", "--json")

    dead = {(row["destination"], row["dead"]) for row in ended.json["destinations"] if row["dead"]}
    assert dead == {("payments", 1), ("notifications", 1)}
    assert (ended.code, ended.err) == (1, "outbox_status: 2 dead, waiting for a person\n")


def test_replay_delivers_an_orders_events_again_to_one_consumer() -> None:
    saga, other = running_saga(), running_saga()
    Delivery.objects.all().delete()

    ended = run("outbox_replay", "--consumer", "analytics", "--order", saga.key)

    assert (ended.code, ended.out) == (0, "1 deliveries added for analytics\n")
    assert list(Delivery.objects.values_list("destination", "ordering_key")) == [("analytics", saga.key)]
    assert other.key != saga.key


@pytest.mark.parametrize(("hours", "expected"), [(-1, 2), (1, 0)])
def test_replay_begins_at_a_time(hours: int, expected: int) -> None:
    running_saga()
    running_saga()
    Delivery.objects.all().delete()
    since = datetime.now(UTC) + timedelta(hours=hours)

    ended = run("outbox_replay", "--consumer", "analytics", "--since", since.strftime("%Y-%m-%dT%H:%M"), "--json")

    assert ended.json == {"consumer": "analytics", "deliveries": expected}
    assert Delivery.objects.count() == expected


def test_replay_adds_nothing_to_what_still_waits() -> None:
    saga = running_saga()
    before = Delivery.objects.count()

    ended = run("outbox_replay", "--consumer", "analytics", "--order", saga.key)

    assert ended.out == "0 deliveries added for analytics\n"
    assert Delivery.objects.count() == before


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "the following arguments are required: --consumer"),
        (["--consumer", "analytics"], "one of the arguments --since --order is required"),
        (["--consumer", "nobody", "--order", uuid7()], "no consumer is named 'nobody'; there are: "),
        (["--consumer", "analytics", "--order", "x"], "argument --order: 'x' is not an id; it must be a UUID"),
        (
            ["--consumer", "analytics", "--since", "noon"],
            "argument --since: 'noon' is not a time; it must look like 2026-11-24T12:30",
        ),
        (
            ["--consumer", "analytics", "--since", "2026-01-01", "--order", uuid7()],
            "argument --order: not allowed with argument --since",
        ),
    ],
)
def test_bad_input_is_one_line_and_adds_nothing(arguments: list[object], complaint: str) -> None:
    running_saga()
    before = Delivery.objects.count()

    ended = run("outbox_replay", *arguments)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"outbox_replay: {complaint}")
    assert ended.err.count("\n") == 1
    assert Delivery.objects.count() == before
