"""The scheduled audit looks at what has changed, and tells of what it finds in three places."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.utils import timezone
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from config.audit import audit, watch
from config.models import AuditRun
from config.tasks import audit as audit_task
from sagas.models import Case
from tests.audited import Books, books, found, money
from tests.command_line import run
from tests.messaging import execute

__all__ = ["books"]
pytestmark = pytest.mark.django_db(transaction=True)


def gauge(invariant: str) -> float | None:
    return REGISTRY.get_sample_value("audit_findings", {"invariant": invariant})


def put_wrong(books: Books) -> None:
    execute("UPDATE orders_orderline SET unit_price = unit_price + 1 WHERE order_id = %s", books.confirmed)


def history_begins(moment: datetime) -> None:
    """Let the last look have been at this time."""
    AuditRun.objects.create(at=moment, since_at=moment, keys=0, findings=[])


def test_a_finding_is_logged_measured_and_put_on_the_desk_once(books: Books) -> None:
    put_wrong(books)

    with capture_logs() as logs:
        watch.look()
        watch.look()

    told = [entry for entry in logs if entry["event"] == "audit.finding"]
    assert [(entry["log_level"], entry["invariant"], entry["key"]) for entry in told] == [
        ("error", "I6", str(books.confirmed))
    ] * 2
    assert (gauge("I6"), gauge("I1")) == (1, 0)
    [case] = Case.objects.all()
    assert (case.error_class, case.destination, case.status) == ("AuditFinding", "audit", "OPEN")
    assert str(books.confirmed) in case.error


def test_a_look_that_finds_nothing_says_when_it_was(books: Books) -> None:
    put_wrong(books)
    watch.look()
    execute("UPDATE orders_orderline SET unit_price = unit_price - 1 WHERE order_id = %s", books.confirmed)

    audit_task()

    last = AuditRun.objects.order_by("at").last()
    assert last is not None
    assert (last.findings, gauge("I6")) == ([], 0)
    assert REGISTRY.get_sample_value("audit_last_run_timestamp_seconds") == last.at.timestamp()


def test_the_first_look_goes_a_day_back_and_the_next_one_to_where_the_last_began(books: Books) -> None:
    first, second = watch.look(), watch.look()

    assert first is not None
    assert second is not None
    assert second.since == first.at - watch.OVERLAP
    assert first.since is not None
    assert timedelta(hours=23) < first.at - first.since < timedelta(hours=25)


def test_what_has_not_changed_since_the_last_look_is_not_looked_at_again(books: Books) -> None:
    put_wrong(books)
    history_begins(timezone.now() + watch.OVERLAP + timedelta(hours=1))

    report = watch.look()

    assert report is not None
    assert (report.keys, report.findings) == (0, ())


def test_what_the_bank_did_since_the_last_look_is_looked_at(books: Books) -> None:
    """Nothing of ours has changed; the bank charges a second time."""
    history_begins(timezone.now() + watch.OVERLAP + timedelta(hours=1))
    at = (timezone.now() + timedelta(days=1)).isoformat()
    books.bank.append(money("charge", "second", books.confirmed, 2500) | {"at": at})

    report = watch.look()

    assert ("I1", "no order is charged twice", str(books.confirmed)) in found(report)


def test_a_ledger_that_cannot_be_read_leaves_it_to_the_next_look(books: Books) -> None:
    books.are_shown = False

    assert watch.look() is None
    assert not AuditRun.objects.exists()


def test_a_table_that_has_grown_large_is_not_read_as_a_whole_by_a_look(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute("UPDATE inventory_stock SET on_hand = on_hand - 1, reserved = reserved + 1")
    monkeypatch.setattr("config.audit.run.WHOLE_ROWS", -1)

    assert audit(since=timezone.now() - timedelta(days=1)).findings == ()
    assert found(audit()) == [("I2", "what is reserved is held for orders", "MUG")]


def test_the_command_ends_with_1_on_findings_and_names_them(books: Books) -> None:
    clean = run("audit_consistency")
    put_wrong(books)

    wrong = run("audit_consistency", "--json")
    table = run("audit_consistency", "--since", "2026-01-01")

    assert (clean.code, clean.out.count("0 findings")) == (0, 1)
    assert wrong.code == table.code == 1
    assert [(f["invariant"], f["key"]) for f in wrong.json["findings"]] == [("I6", str(books.confirmed))]
    assert str(books.confirmed) in table.out


def test_the_command_ends_with_2_when_a_ledger_cannot_be_read(books: Books) -> None:
    books.are_shown = False

    ended = run("audit_consistency")

    assert (ended.code, ended.err.count("\n")) == (2, 1)
