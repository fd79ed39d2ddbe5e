"""The operator log: narrowed, honest about what came of each deed, exported with a trace, and never changed."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import IntegrityError, ProgrammingError, connection, transaction
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import Settings
from uuid_utils.compat import uuid7

from desk import log_export
from desk.operators import operator_of, origin_of
from outbox.commands import operator_name, origin_name
from sagas import operator_log, services
from sagas.models import OperatorAction
from tests.command_line import run
from tests.factories.cases import refund_at_last, refuse_once_more, refused_refund, running_saga

pytestmark = pytest.mark.django_db

WHY = "the customer called"


def line(**said: Any) -> OperatorAction:
    """Write a line."""
    usual = {"operator": "grace", "origin": "192.0.2.1", "action": "note", "reason": WHY, "seen": {}, "result": "done"}
    return operator_log.write(**(usual | said))


def person(*permissions: str, name: str = "ada") -> Client:
    """Log a person in who has these permissions."""
    user = User.objects.create(username=name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def reader() -> Client:
    return person("view_operatoraction")


def listing(client: Client, **query: object) -> Any:
    address = reverse("admin:sagas_operatoraction_changelist")
    return client.get(address, {name: str(value) for name, value in query.items()})


def shown(client: Client, **query: object) -> list[int]:
    return [entry.pk for entry in listing(client, **query).context["cl"].result_list]


def text(response: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", response.content.decode()))


def export(client: Client, kind: str, *, reason: str = "for the auditors", **query: str) -> Any:
    address = reverse("desk:log-export", query=query)
    return client.post(address, {"format": kind, "reason": reason}, REMOTE_ADDR="192.0.2.9")


def body(response: Any) -> str:
    return b"".join(response.streaming_content).decode()


# --- the list ---


def test_the_log_is_narrowed_by_who_what_result_and_when() -> None:
    old = line(operator="olga", action="retry", result="requested")
    new = line(operator="grace", action="skip")
    OperatorActionTimes.shift(old, hours=5)
    client = reader()
    hour_ago = (new.at if isinstance(new.at, str) else OperatorAction.objects.get(pk=new.pk).at) - timedelta(hours=1)
    moment = hour_ago.strftime("%Y-%m-%dT%H:%M")

    assert shown(client) == [new.pk, old.pk]
    assert shown(client, operator="olga") == [old.pk]
    assert shown(client, action="skip") == [new.pk]
    assert shown(client, result="requested") == [old.pk]
    assert shown(client, at_from=moment) == [new.pk]
    assert shown(client, at_to=moment) == [old.pk]
    assert shown(client, at_from="yesterday") == []
    assert shown(client, operator="olga", action="skip") == []


def test_the_filters_offer_what_the_log_has() -> None:
    line(operator="olga", action="retry", result="requested")
    line(operator="grace", action="skip")

    page = listing(reader()).content.decode()

    for value in ("olga", "grace", "retry", "skip", "requested", "done"):
        assert f'value="{value}"' in page
    assert "Apply Filters" in page


def test_lines_are_found_by_order_and_by_saga() -> None:
    key, saga_id = uuid7(), uuid7()
    wanted, _other = line(key=key, saga_id=saga_id), line(key=uuid7(), saga_id=uuid7())
    client = reader()

    assert [shown(client, q=key), shown(client, q=saga_id), shown(client, q="12")] == [[wanted.pk], [wanted.pk], []]


def test_a_line_says_from_where_and_about_what() -> None:
    line(seen={"about": "payments"}, action="pause")

    page = text(listing(reader()))

    for words in ("grace", "192.0.2.1", "pause", "payments", WHY):
        assert words in page


def test_what_was_said_then_stands_beside_what_came_of_it() -> None:
    """Requested is not done: one retry has succeeded since, one has failed again, one is still under way."""
    done, failed, open_still = (refused_refund() for _ in range(3))
    for case in (done, failed, open_still):
        services.retry(saga_id=case.saga_id, operator="grace", reason=WHY)  # type: ignore[arg-type]
    refund_at_last(done)
    refuse_once_more(failed)

    page = listing(reader())

    outcomes = {entry.key: entry.outcome_now.status for entry in page.context["cl"].result_list}
    assert outcomes == {done.key: "done", failed.key: "failed again", open_still.key: "requested"}
    assert {entry.result for entry in page.context["cl"].result_list} == {"requested"}
    assert "failed again" in text(page)


def test_a_page_costs_the_same_however_many_lines_it_has() -> None:
    client = reader()

    def cost() -> int:
        with CaptureQueriesContext(connection) as queries:
            listing(client)
        return len(queries)

    services.retry(saga_id=refused_refund().saga_id, operator="grace", reason=WHY)  # type: ignore[arg-type]
    listing(client)
    one = cost()
    for _ in range(5):
        services.retry(saga_id=refused_refund().saga_id, operator="grace", reason=WHY)  # type: ignore[arg-type]

    assert cost() == one


def test_no_filter_counts_or_reads_the_whole_log() -> None:
    client = reader()
    line()
    with CaptureQueriesContext(connection) as queries:
        listing(client, operator="grace")

    read = [query["sql"] for query in queries.captured_queries if "sagas_operatoraction" in query["sql"]]
    assert [sql for sql in read if "COUNT(" in sql.upper() or "DISTINCT" in sql.upper()] == []


def test_the_log_takes_the_permission() -> None:
    assert listing(person("view_case")).status_code == 403


# --- the export ---


def test_the_export_has_what_the_list_shows_and_is_written_to_the_log() -> None:
    wanted = line(operator="olga", action="retry", key=uuid7(), result="requested")
    line(operator="grace", action="skip")
    client = person("view_operatoraction", "export_log")

    answer = export(client, "csv", operator="olga")
    rows = list(csv.DictReader(io.StringIO(body(answer))))

    assert (answer.status_code, answer["Content-Type"]) == (200, "text/csv; charset=utf-8")
    assert "attachment" in answer["Content-Disposition"]
    assert [(row["id"], row["operator"], row["action"], row["order_id"]) for row in rows] == [
        (str(wanted.pk), "olga", "retry", str(wanted.key))
    ]
    own = OperatorAction.objects.latest("id")
    assert (own.operator, own.origin, own.action, own.reason) == ("ada", "192.0.2.9", "export log", "for the auditors")
    assert own.seen == {"about": "operator log", "format": "csv", "filters": {"operator": ["olga"]}}


def test_the_export_as_json_keeps_what_was_seen_and_what_came_of_it() -> None:
    case = refused_refund()
    services.retry(saga_id=case.saga_id, operator="grace", reason=WHY)  # type: ignore[arg-type]
    refund_at_last(case)

    told = json.loads(body(export(person("view_operatoraction", "export_log"), "json")))

    [entry] = told["lines"]
    assert (told["exported_by"], told["reason"], told["filters"]) == ("ada", "for the auditors", {})
    assert (entry["result"], entry["outcome"], entry["seen"]["status"]) == ("requested", "done", "SUSPENDED")


def test_an_empty_export_is_well_formed() -> None:
    client = person("view_operatoraction", "export_log")

    assert json.loads(body(export(client, "json", operator="nobody")))["lines"] == []
    assert len(body(export(client, "csv", operator="nobody")).splitlines()) == 1


def test_the_export_has_no_end_but_its_own_line_whatever_is_written_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read page by page while it is fetched."""
    monkeypatch.setattr(log_export, "PAGE", 2)
    lines = [line(reason=f"number {number}") for number in range(5)]

    answer = export(person("view_operatoraction", "export_log"), "csv")
    line(reason="written while the export is under way")
    rows = list(csv.DictReader(io.StringIO(body(answer))))

    assert [row["id"] for row in rows] == [str(entry.pk) for entry in reversed(lines)]


def test_a_reason_that_looks_like_a_formula_is_none_in_the_spreadsheet() -> None:
    line(reason="=HYPERLINK(1)")

    rows = list(csv.DictReader(io.StringIO(body(export(person("view_operatoraction", "export_log"), "csv")))))

    assert rows[0]["reason"] == "'=HYPERLINK(1)"


def test_the_export_takes_its_own_permission() -> None:
    client = reader()

    page, answer = listing(client), export(client, "csv")

    assert (page.status_code, answer.status_code) == (200, 403)
    assert "Export what is listed" not in text(page)
    assert not OperatorAction.objects.exists()


@pytest.mark.parametrize(("kind", "reason"), [("csv", " "), ("xml", "for the auditors"), ("", "for the auditors")])
def test_an_export_without_a_reason_or_a_format_is_none(kind: str, reason: str) -> None:
    client = person("view_operatoraction", "export_log")

    answer = export(client, kind, reason=reason, operator="olga")

    assert answer.status_code == 302
    assert answer["Location"] == reverse("admin:sagas_operatoraction_changelist", query={"operator": "olga"})
    assert not OperatorAction.objects.exists()


def test_a_look_exports_nothing() -> None:
    client = person("view_operatoraction", "export_log")

    assert client.get(reverse("desk:log-export")).status_code == 405
    assert not OperatorAction.objects.exists()


# --- append-only ---

CHANGES = (
    "UPDATE sagas_operatoraction SET operator = 'another'",
    "DELETE FROM sagas_operatoraction",
    "TRUNCATE sagas_operatoraction",
)


class OperatorActionTimes:
    """Move a line in time, which nobody can but who owns the table and says so aloud."""

    @staticmethod
    def shift(entry: OperatorAction, *, hours: int) -> None:
        """Let it have been written so long ago."""
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE sagas_operatoraction DISABLE TRIGGER sagas_append_only")
            cursor.execute(
                "UPDATE sagas_operatoraction SET at = now() - make_interval(hours => %s) WHERE id = %s",
                [hours, entry.pk],
            )
            cursor.execute("ALTER TABLE sagas_operatoraction ENABLE ALWAYS TRIGGER sagas_append_only")


@pytest.fixture
def as_application() -> Iterator[None]:
    """Be the role that the product runs as in production, with its rights on all tables."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE log_app")
        cursor.execute("GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA public TO log_app")
        cursor.execute("GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO log_app")
        cursor.execute("SET LOCAL ROLE log_app")
        yield
        cursor.execute("RESET ROLE")


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_written_cannot_be_changed(change: str) -> None:
    entry = line()

    with pytest.raises(IntegrityError, match="is append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(change)

    assert OperatorAction.objects.get().operator == entry.operator


@pytest.mark.parametrize("change", CHANGES)
def test_nor_by_the_applications_own_role_which_can_write(as_application: None, change: str) -> None:
    entry = line()

    with pytest.raises(IntegrityError, match="is append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(change)
    with pytest.raises(ProgrammingError, match="must be owner"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE sagas_operatoraction DISABLE TRIGGER sagas_append_only")

    assert OperatorAction.objects.get().operator == entry.operator


@pytest.mark.parametrize("change", CHANGES)
def test_nor_by_a_session_that_plays_the_replica(change: str) -> None:
    line()

    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        with pytest.raises(IntegrityError, match="is append-only"), transaction.atomic():
            cursor.execute(change)

    assert OperatorAction.objects.count() == 1


# --- who and from where ---


@pytest.mark.parametrize(
    ("proxies", "forwarded", "origin"),
    [(0, "203.0.113.5", "192.0.2.7"), (1, "203.0.113.5", "203.0.113.5"), (1, "6.6.6.6, 203.0.113.5", "203.0.113.5")],
)
def test_the_origin_is_the_address_behind_the_trusted_proxies(
    settings: Settings, proxies: int, forwarded: str, origin: str
) -> None:
    """As the API's limits take it: what a visitor writes into the header himself is not believed."""
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": proxies}
    request = RequestFactory().get("/admin/", REMOTE_ADDR="192.0.2.7", headers={"X-Forwarded-For": forwarded})
    request.user = User(username="ada")

    assert (operator_of(request), origin_of(request)) == ("ada", origin)


def test_a_command_says_which_account_on_which_host() -> None:
    saga = running_saga()

    run("saga_compensate", saga.key, "--reason", WHY)

    entry = OperatorAction.objects.get()
    assert (entry.operator, entry.origin, entry.action) == (operator_name(), origin_name(), "compensate")
    assert entry.origin


def test_a_replay_by_command_is_in_the_log() -> None:
    saga = running_saga()

    run("outbox_replay", "--consumer", "analytics", "--order", saga.key, "--reason", "it was away")

    entry = OperatorAction.objects.get()
    assert (entry.operator, entry.action, entry.key, entry.reason) == (
        operator_name(),
        "replay",
        saga.key,
        "it was away",
    )
    assert (entry.seen["about"], entry.result) == ("analytics", "requested")


def test_a_replay_that_is_refused_is_not() -> None:
    assert run("outbox_replay", "--consumer", "nobody", "--order", uuid7()).code == 2
    assert not OperatorAction.objects.exists()


@pytest.mark.parametrize("command", [("saga_list",), ("outbox_status",), ("breaker",)])
def test_a_command_that_only_looks_leaves_no_line(command: tuple[str, ...]) -> None:
    running_saga()

    run(*command)

    assert not OperatorAction.objects.exists()
