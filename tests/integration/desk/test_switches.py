"""The switches: told before they are thrown, thrown once, by who may, with a reason and a line in the log."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django_celery_beat.models import IntervalSchedule, PeriodicTask, PeriodicTasks
from pytest_django import Settings

from outbox import breaker, pausing, rates
from outbox.models import Pause, TokenBucket
from sagas.models import OperatorAction
from tests.command_line import run
from tests.factories.cases import running_saga

pytestmark = pytest.mark.django_db

WHY = "the bank asked us to"


def person(*permissions: str, name: str = "olga") -> Client:
    """Log a person in who has these permissions."""
    user = User.objects.create(username=name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def address(kind: str, name: object, verb: str) -> str:
    return reverse("desk:switch", args=[kind, name, verb])


def text(response: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", response.content.decode()))


def seen(response: Any) -> str:
    found = re.search(r'name="seen" value="([^"]*)"', response.content.decode())
    assert found is not None
    return found[1]


def throw(client: Client, url: str, **fields: object) -> Any:
    """Open the page, fill it in and send it, as a browser does."""
    page = client.get(url)
    return client.post(url, {"reason": WHY, "seen": seen(page)} | fields, REMOTE_ADDR="192.0.2.7")


def state() -> list[object]:
    return [
        list(Pause.objects.values()),
        list(TokenBucket.objects.values("per_second", "reason")),
        [status.state for status in breaker.statuses()],
        list(PeriodicTask.objects.values("pk", "enabled", "interval__every")),
        OperatorAction.objects.count(),
    ]


def schedule(name: str = "Measure the sagas") -> PeriodicTask:
    return PeriodicTask.objects.select_related("interval").get(name=name)


# --- how they stand ---


def test_who_may_switch_sees_how_all_stand_and_how_to_change_it(admin_client: Client) -> None:
    page = admin_client.get(reverse("desk:switches"))

    shown = text(page)
    assert page.status_code == 200
    for words in ("Destinations", "payments", "running", "200 a second, from the settings", "carrier", "closed"):
        assert words in shown
    assert "every 10 seconds" in shown
    for url in (
        address("destination", "payments", "pause"),
        address("rate", "compensations", "set"),
        address("breaker", "bank", "open"),
        address("schedule", schedule().pk, "off"),
        address("schedule", schedule().pk, "change"),
    ):
        assert url in page.content.decode()


def test_who_sees_what_waits_sees_the_switches_without_a_way_to_turn_them() -> None:
    page = person("view_delivery").get(reverse("desk:switches"))

    assert page.status_code == 200
    assert "Turning one takes the permission to switch." in text(page)
    assert address("destination", "payments", "pause") not in page.content.decode()


def test_nobody_else_sees_them() -> None:
    assert person("view_case").get(reverse("desk:switches")).status_code == 403


def test_the_page_reads_no_hot_table(admin_client: Client) -> None:
    with CaptureQueriesContext(connection) as queries:
        admin_client.get(reverse("desk:switches"))

    read = " ".join(query["sql"] for query in queries.captured_queries)
    assert [table for table in ("outbox_delivery", "outbox_message", "sagas_sagainstance") if table in read] == []


THROWS = (
    ("destination", "payments", "pause"),
    ("rate", "compensations", "set"),
    ("breaker", "bank", "open"),
    ("schedule", "{schedule}", "off"),
    ("schedule", "{schedule}", "change"),
)
FILLED = {"what": "everything", "per_second": "10", "seconds": "30"}


def real(name: str) -> str:
    return name.format(schedule=schedule().pk)


@pytest.mark.parametrize(("kind", "name", "verb"), THROWS)
def test_a_switch_takes_the_permission(kind: str, name: str, verb: str) -> None:
    """A request made by hand is refused like a look at the page."""
    client, before = person("view_delivery", "view_periodictask", "change_periodictask"), state()
    url = address(kind, real(name), verb)

    page, answer = client.get(url), client.post(url, {"reason": WHY, "seen": "running", **FILLED})

    assert (page.status_code, answer.status_code, state()) == (403, 403, before)


@pytest.mark.parametrize(("kind", "name", "verb"), THROWS)
def test_a_switch_takes_a_reason(kind: str, name: str, verb: str) -> None:
    client, before = person("switch"), state()

    answer = throw(client, address(kind, real(name), verb), **FILLED | {"reason": " "})

    assert (answer.status_code, state()) == (200, before)
    assert "This field is required" in text(answer)


@pytest.mark.parametrize(("kind", "name", "verb"), THROWS)
def test_a_stale_page_cannot_throw_it(kind: str, name: str, verb: str) -> None:
    client, before = person("switch"), state()

    answer = throw(client, address(kind, real(name), verb), **FILLED | {"seen": "as it was yesterday"})

    assert (answer.status_code, state()) == (409, before)
    assert "Nothing was changed: it has changed since you looked" in text(answer)
    assert WHY in answer.content.decode(), "what was typed is kept"


@pytest.mark.parametrize(
    ("kind", "name", "verb"),
    [("destination", "nobody", "pause"), ("breaker", "post", "open"), ("schedule", "0", "off"), ("bomb", "x", "drop")],
)
def test_there_is_no_such_switch(kind: str, name: str, verb: str) -> None:
    assert person("switch").get(address(kind, name, verb)).status_code == 404


# --- destinations ---


def test_a_destination_is_paused_and_resumed() -> None:
    client = person("switch")
    running_saga()

    page = client.get(address("destination", "inventory", "pause"))
    answer = throw(client, address("destination", "inventory", "pause"), what="everything")
    paused = text(client.get(reverse("desk:switches")))
    [held] = pausing.pauses()
    resumed = throw(client, address("destination", "inventory", "resume"), reason="they are back")

    assert "1 message waits for inventory now." in text(page)
    assert (answer.status_code, resumed.status_code) == (302, 302)
    assert (held.destination, held.paused_by, held.reason, held.compensations_only) == ("inventory", "olga", WHY, False)
    assert "by olga" in paused
    assert WHY in paused
    assert pausing.pauses() == []
    lines = OperatorAction.objects.order_by("id").values_list("operator", "origin", "action", "key", "reason", "result")
    assert list(lines) == [
        ("olga", "192.0.2.7", "pause", None, WHY, "done"),
        ("olga", "192.0.2.7", "resume", None, "they are back", "done"),
    ]
    assert [line.seen["about"] for line in OperatorAction.objects.all()] == ["inventory", "inventory"]


def test_compensations_alone_can_be_paused() -> None:
    throw(person("switch"), address("destination", "payments", "pause"), what="compensations")

    assert [pause.compensations_only for pause in pausing.pauses()] == [True]


def test_what_somebody_else_has_paused_meanwhile_is_refused() -> None:
    client = person("switch")
    url = address("destination", "payments", "pause")
    page = client.get(url)
    run("outbox_pause", "payments", "--reason", "first")
    before = state()

    answer = client.post(url, {"reason": WHY, "seen": seen(page), "what": "everything"})

    assert (answer.status_code, state()) == (409, before)
    assert "paused since" in text(answer)
    assert client.get(url).status_code == 302


# --- the limit of compensations ---


def test_the_limit_is_set_and_given_back(settings: Settings) -> None:
    settings.COMPENSATIONS_PER_SECOND = 200
    client = person("switch")

    throw(client, address("rate", "compensations", "set"), per_second=25)
    changed = rates.rate()
    page = text(client.get(reverse("desk:switches")))
    throw(client, address("rate", "compensations", "clear"), reason="over")

    assert (changed.per_second, changed.changed_by, changed.reason) == (25, "olga", WHY)
    assert "25 a second, set by olga" in page
    assert rates.rate() == rates.Rate(200, 200)
    lines = OperatorAction.objects.order_by("id")
    assert [(line.action, line.seen["per_second"], line.seen["wanted"]) for line in lines] == [
        ("set rate", 200, 25),
        ("clear rate", 25, None),
    ]


@pytest.mark.parametrize("per_second", ["0", "1001", "many", "1.5"])
def test_a_limit_out_of_bounds_is_refused(per_second: str) -> None:
    client, before = person("switch"), state()

    answer = throw(client, address("rate", "compensations", "set"), per_second=per_second)

    assert (answer.status_code, state()) == (200, before)


# --- breakers ---


def test_a_breaker_is_held_open_and_closed() -> None:
    client = person("switch")

    throw(client, address("breaker", "bank", "open"))
    held = breaker.statuses()[0]
    throw(client, address("breaker", "bank", "close"), reason="they are back")

    assert (held.gateway, held.state, held.held_by) == ("bank", "held open", "olga")
    assert breaker.statuses()[0].state == "closed"
    lines = OperatorAction.objects.order_by("id")
    assert [(line.action, line.seen["about"], line.seen["state"], line.reason) for line in lines] == [
        ("open breaker", "bank", "closed", WHY),
        ("close breaker", "bank", "held open", "they are back"),
    ]


def test_a_breaker_that_cannot_be_reached_leaves_no_line(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    client = person("switch")
    url = address("breaker", "bank", "open")
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    monkeypatch.setattr(breaker, "_client", None)

    answer = throw(client, url)

    assert answer.status_code == 409
    assert "the breakers cannot be reached" in text(answer)
    assert not OperatorAction.objects.exists()


# --- schedules ---


def test_a_schedule_is_turned_off_and_on() -> None:
    client, task = person("switch"), schedule()
    told = PeriodicTasks.last_change()

    throw(client, address("schedule", task.pk, "off"))
    task.refresh_from_db()
    off = task.enabled
    throw(client, address("schedule", task.pk, "on"))
    task.refresh_from_db()

    assert (off, task.enabled) == (False, True)
    assert PeriodicTasks.last_change() > told, "beat looks at this"
    lines = OperatorAction.objects.order_by("id")
    assert [(line.action, line.seen["about"], line.seen["before"], line.seen["after"]) for line in lines] == [
        ("turn off schedule", task.name, "on, every 10 seconds", "off, every 10 seconds"),
        ("turn on schedule", task.name, "off, every 10 seconds", "on, every 10 seconds"),
    ]


def test_how_often_it_runs_can_be_changed_for_it_alone() -> None:
    client, task = person("switch"), schedule()
    others = IntervalSchedule.objects.get(pk=task.interval_id)

    throw(client, address("schedule", task.pk, "change"), seconds=25)

    task.refresh_from_db()
    others.refresh_from_db()
    assert (task.interval.every, task.interval.period, others.every) == (25, "seconds", 10)
    assert OperatorAction.objects.get().seen["after"] == "on, every 25 seconds"


@pytest.mark.parametrize("seconds", ["0", "86401", "soon"])
def test_a_pace_out_of_bounds_is_refused(seconds: str) -> None:
    client, before = person("switch"), state()

    answer = throw(client, address("schedule", schedule().pk, "change"), seconds=seconds)

    assert (answer.status_code, state()) == (200, before)


def test_a_schedule_is_not_changed_past_the_log(admin_client: Client) -> None:
    """The library's own forms would leave no line: they are gone."""
    task, before = schedule(), state()
    url = reverse("admin:django_celery_beat_periodictask_change", args=[task.pk])

    page = admin_client.get(url)
    answer = admin_client.post(url, {"name": task.name, "task": task.task, "enabled": ""})
    listed = admin_client.post(
        reverse("admin:django_celery_beat_periodictask_changelist"),
        {"action": "disable_tasks", "_selected_action": [task.pk]},
    )
    intervals = admin_client.get("/admin/django_celery_beat/intervalschedule/")

    assert (page.status_code, answer.status_code, listed.status_code, intervals.status_code) == (200, 403, 200, 404)
    assert reverse("desk:switches") in page.content.decode()
    assert state() == before


# --- the shell ---


def test_on_the_shell_a_destination_is_paused_and_resumed() -> None:
    paused = run("outbox_pause", "payments", "--reason", WHY)
    status = run("outbox_status")
    resumed = run("outbox_resume", "payments")

    assert (paused.code, resumed.code) == (0, 0)
    assert paused.out == "payments is paused; go on with: outbox_resume payments --reason R\n"
    assert [line.split()[:2] for line in status.out.splitlines() if line.startswith("payments")] == [
        ["payments", "everything"]
    ]
    assert resumed.out == "payments goes on\n"
    lines = OperatorAction.objects.order_by("id").values_list("action", "reason")
    assert list(lines) == [("pause", WHY), ("resume", "resumed")]
    assert all(line.operator.startswith("cli:") and line.origin for line in OperatorAction.objects.all())


def test_the_status_tells_of_pauses_and_of_an_operators_limit() -> None:
    run("outbox_pause", "shipping", "--compensations", "--reason", WHY)

    told = run("outbox_status", "--json").json

    [pause] = told["paused"]
    assert (pause["destination"], pause["compensations_only"], pause["reason"]) == ("shipping", True, WHY)
    assert told["compensations_per_second"] == 200


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["outbox_pause", "nobody", "--reason", WHY], "no destination is named 'nobody'; there are: analytics,"),
        (["outbox_pause", "payments"], "the following arguments are required: --reason"),
        (["outbox_pause", "payments", "--reason", " "], "give a reason"),
        (["outbox_resume", "payments"], "payments is not paused"),
        (["breaker", "--open", "post"], "no gateway is named 'post'; there are: bank, carrier"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(arguments: list[str], complaint: str) -> None:
    before = state()

    ended = run(*arguments)

    assert (ended.code, ended.out, state()) == (2, "", before)
    assert ended.err.startswith(f"{arguments[0]}: {complaint}")
    assert ended.err.count("\n") == 1


def test_on_the_shell_a_breaker_leaves_its_line_too() -> None:
    run("breaker", "--open", "bank", "--reason", WHY)
    run("breaker", "--close", "bank")

    lines = OperatorAction.objects.order_by("id").values_list("action", "reason", "result")
    assert list(lines) == [("open breaker", WHY, "done"), ("close breaker", "closed", "done")]
