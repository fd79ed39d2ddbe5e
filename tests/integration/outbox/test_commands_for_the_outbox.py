"""The commands for the outbox: what waits, what is dead, what is delivered again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs
from uuid_utils.compat import uuid7

from outbox import breaker
from outbox.commands import operator_name
from outbox.models import Delivery
from tests.command_line import run
from tests.factories.cases import refused_event, refused_refund, running_saga

pytestmark = pytest.mark.django_db


def test_an_empty_queue_is_said_to_be_empty() -> None:
    ended = run("outbox_status")

    queue, blocked, breakers = ended.out.split("\n\n")
    assert (ended.code, queue, blocked, ended.err) == (0, "Nothing waits.", "Blocked keys: 0", "")
    assert [row.split()[:2] for row in breakers.splitlines()[1:]] == [["bank", "closed"], ["carrier", "closed"]]


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


def test_a_gateway_that_is_away_is_shown_with_the_time_of_its_next_probe() -> None:
    for _ in range(breaker.FAILURES_TO_OPEN):
        breaker.failed(gateway="carrier", was_probe=False)

    [bank, carrier] = run("outbox_status", "--json").json["breakers"]

    assert (bank["state"], bank["since"], carrier["state"]) == ("closed", None, "open")
    assert carrier["since"] < carrier["next_probe_at"]


def test_an_operator_holds_a_breaker_open_and_closes_it_again() -> None:
    with capture_logs() as logs:
        opened = run("breaker", "--open", "bank")

    assert opened.code == 0
    assert [row.split()[:3] for row in opened.out.splitlines()[1:]] == [
        ["bank", "held", "open"],
        ["carrier", "closed", "0"],
    ]
    [told] = [log for log in logs if log["event"] == "outbox.breaker.held_open"]
    assert (told["gateway"], told["operator"]) == ("bank", operator_name())
    assert breaker.ask(gateway="bank", probe_seconds=1).refuses

    with capture_logs() as logs:
        closed = run("breaker", "--close", "bank", "--json")

    assert [row["state"] for row in closed.json["breakers"]] == ["closed", "closed"]
    assert [log["operator"] for log in logs if log["event"] == "outbox.breaker.closed_by_hand"] == [operator_name()]
    assert not breaker.ask(gateway="bank", probe_seconds=1).is_open


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--open", "post"], "no gateway is named 'post'; there are: bank, carrier"),
        (["--open", "bank", "--close", "bank"], "argument --close: not allowed with argument --open"),
    ],
)
def test_a_breaker_that_cannot_be_changed_is_one_line(arguments: list[str], complaint: str) -> None:
    ended = run("breaker", *arguments)

    assert (ended.code, ended.out, ended.err) == (2, "", f"breaker: {complaint}\n")
