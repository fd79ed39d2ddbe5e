"""Who has a case and what is written on it: one owner at a time, nothing on a closed case, every deed in the log."""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from uuid_utils.compat import uuid7

from payments.contracts import PaymentMismatchFound
from sagas import cases, services
from sagas.engine import Refused
from sagas.handlers import handle
from sagas.models import Case, CaseNote, OperatorAction, SagaInstance
from tests.factories.cases import refused_event, refused_refund
from tests.factories.envelopes import envelope
from tests.factories.people import approved_by
from tests.messaging import execute

pytestmark = pytest.mark.django_db


def state() -> list[object]:
    return [
        list(Case.objects.order_by("pk").values_list("pk", "status", "owner", "claimed_at")),
        list(CaseNote.objects.values_list("case_id", "text")),
        OperatorAction.objects.count(),
    ]


def closed_case() -> Case:
    case = refused_event()
    services.close_message_case(case_id=case.pk, operator="grace", action="resolve", reason="r", reference="T-1")
    return case


def claimed_case(owner: str = "ada") -> Case:
    case = refused_refund()
    cases.claim(case_id=case.pk, operator=owner)
    case.refresh_from_db()
    return case


def test_a_new_case_is_the_teams_and_nobodys() -> None:
    case = refused_refund()

    assert (case.owner, case.claimed_at, case.is_claimed) == ("on-call", None, False)


def test_a_case_of_a_saga_names_the_money_that_hangs_on_it() -> None:
    case = refused_refund()

    assert (case.amount, case.currency) == (1250, "EUR")


def test_a_case_outside_any_saga_names_no_money() -> None:
    case = refused_event()

    assert (case.amount, case.currency) == (None, "")


@pytest.mark.parametrize(("told", "kept"), [((9_900, "EUR"), (9_900, "EUR")), ((0, ""), (None, ""))])
def test_a_case_about_a_ledger_names_the_money_that_the_finding_names(
    told: tuple[int, str], kept: tuple[int | None, str]
) -> None:
    found = PaymentMismatchFound(
        order_id=uuid7(), finding="charge_unexplained", key="k", detail="d", amount=told[0], currency=told[1]
    )

    with transaction.atomic():
        handle([envelope(found, subject=found.order_id)])

    case = Case.objects.get(key=found.order_id)
    assert (case.amount, case.currency) == kept


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"amount": 700, "currency": "USD"}, (700, "USD")),
        ({"amount": "much"}, (None, "")),
        ({}, (None, "")),
    ],
)
def test_cases_from_before_get_the_money_of_their_saga(data: dict[str, Any], expected: tuple[int | None, str]) -> None:
    case = refused_refund()
    SagaInstance.objects.update(data=data)
    Case.objects.update(amount=None, currency="")

    execute(import_module("sagas.migrations.0004_cases_with_owner_and_money").MONEY)

    case.refresh_from_db()
    assert (case.amount, case.currency) == expected


def test_who_claims_a_case_has_it() -> None:
    case = refused_refund()

    cases.claim(case_id=case.pk, operator="ada", origin="10.0.0.1")

    case.refresh_from_db()
    assert (case.owner, case.is_claimed) == ("ada", True)
    assert case.claimed_at is not None
    assert timezone.now() - case.claimed_at < timedelta(minutes=1)


def test_a_claim_is_in_the_log_with_what_was_so_before() -> None:
    case = refused_refund()

    cases.claim(case_id=case.pk, operator="ada", origin="10.0.0.1")

    entry = OperatorAction.objects.get()
    assert (entry.operator, entry.origin, entry.action, entry.result) == ("ada", "10.0.0.1", "claim", "done")
    assert (entry.case_id, entry.saga_id, entry.key) == (case.pk, case.saga_id, case.key)
    assert entry.seen == {"case": case.pk, "owner": "on-call", "is_claimed": False}


def test_a_claim_locks_the_case() -> None:
    case = refused_refund()

    with CaptureQueriesContext(connection) as queries:
        cases.claim(case_id=case.pk, operator="ada")

    locking = [query["sql"] for query in queries if "FOR UPDATE" in query["sql"] and '"sagas_case"' in query["sql"]]
    assert len(locking) == 1


@pytest.mark.parametrize(("operator", "who"), [("grace", "ada has"), ("ada", "you have")])
def test_a_case_that_somebody_has_cannot_be_claimed(operator: str, who: str) -> None:
    case = claimed_case("ada")
    before = state()

    with pytest.raises(cases.HasOwner, match=f"^{who} it already, since "):
        cases.claim(case_id=case.pk, operator=operator)

    assert state() == before


def test_a_case_is_taken_over_with_a_reason() -> None:
    case = claimed_case("ada")

    cases.take_over(case_id=case.pk, operator="grace", from_owner="ada", reason=" her shift is over ", origin="h")

    case.refresh_from_db()
    entry = OperatorAction.objects.get(action="take over")
    assert (case.owner, case.is_claimed) == ("grace", True)
    assert (entry.operator, entry.reason, entry.seen["owner"]) == ("grace", "her shift is over", "ada")


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        ({"operator": "grace", "reason": "  "}, "say why you take it over"),
        ({"operator": "grace", "from_owner": "olga"}, "the case has changed since you looked: ada has it now"),
        ({"operator": "ada"}, "the case has changed since you looked: you have it now"),
    ],
)
def test_what_is_no_taking_over_is_refused(given: dict[str, str], refusal: str) -> None:
    case = claimed_case("ada")
    before = state()

    with pytest.raises(Refused, match=refusal):
        cases.take_over(**{"case_id": case.pk, "from_owner": "ada", "reason": "r", **given})  # type: ignore[arg-type]

    assert state() == before


def test_what_nobody_has_cannot_be_taken_over() -> None:
    case = refused_refund()
    before = state()

    with pytest.raises(cases.HasOwner, match="nobody has the case any more: claim it"):
        cases.take_over(case_id=case.pk, operator="grace", from_owner="ada", reason="r")

    assert state() == before


def test_a_case_that_is_released_is_the_teams_again() -> None:
    case = claimed_case("ada")

    cases.release(case_id=case.pk, operator="ada", origin="h")

    case.refresh_from_db()
    assert (case.owner, case.claimed_at) == ("on-call", None)
    assert list(OperatorAction.objects.order_by("id").values_list("action", "origin")) == [
        ("claim", ""),
        ("release", "h"),
    ]


def test_only_its_owner_releases_a_case() -> None:
    case = claimed_case("ada")
    before = state()

    with pytest.raises(cases.NotTheOwner, match="ada has the case: take it over, then you can release it"):
        cases.release(case_id=case.pk, operator="grace")

    assert state() == before


def test_what_nobody_has_cannot_be_released() -> None:
    case = refused_refund()
    before = state()

    with pytest.raises(cases.NotTheOwner, match="nobody has the case"):
        cases.release(case_id=case.pk, operator="grace")

    assert state() == before


def test_a_note_is_kept_with_its_author_and_in_the_log() -> None:
    case = refused_refund()

    note = cases.note(case_id=case.pk, operator="ada", text=" The bank calls back at nine.\n", origin="10.0.0.1")

    note.refresh_from_db()
    entry = OperatorAction.objects.get()
    assert (note.case_id, note.author, note.origin, note.text) == (
        case.pk,
        "ada",
        "10.0.0.1",
        "The bank calls back at nine.",
    )
    assert (entry.action, entry.reason, entry.seen["note"]) == ("note", "The bank calls back at nine.", note.pk)


@pytest.mark.parametrize("text", ["", " \n", "x" * (cases.NOTE_LENGTH + 1)])
def test_a_note_says_something_and_not_too_much(text: str) -> None:
    case = refused_refund()
    before = state()

    with pytest.raises(cases.NothingWritten):
        cases.note(case_id=case.pk, operator="ada", text=text)

    assert state() == before


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE sagas_casenote SET text = 'it was not me'",
        "DELETE FROM sagas_casenote",
        "TRUNCATE sagas_casenote",
    ],
)
def test_nobody_changes_what_was_written(statement: str) -> None:
    cases.note(case_id=refused_refund().pk, operator="ada", text="as it was")
    # What this transaction still has to check would be another reason to refuse.
    execute("SET CONSTRAINTS ALL IMMEDIATE")

    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        execute(statement)

    assert CaseNote.objects.get().text == "as it was"


@pytest.mark.parametrize("deed", ["claim", "release", "take_over", "note"])
def test_nothing_is_done_to_a_closed_case(deed: str) -> None:
    case = closed_case()
    more = {"take_over": {"from_owner": "ada", "reason": "r"}, "note": {"text": "t"}}.get(deed, {})
    before = state()

    with pytest.raises(Refused, match=f"case {case.pk} is closed already: resolved"):
        getattr(cases, deed)(case_id=case.pk, operator="grace", **more)

    assert state() == before


def test_there_is_no_case_to_claim() -> None:
    with pytest.raises(cases.NoSuchCase, match="there is no case 999999999"):
        cases.claim(case_id=999_999_999, operator="ada")


def test_an_owner_keeps_nobody_from_acting() -> None:
    case = claimed_case("ada")

    result = services.retry(saga_id=case.saga_id or uuid4(), operator="grace", reason="the cause is gone")

    case.refresh_from_db()
    assert (result, case.status, case.owner) == ("requested", "CLOSED", "ada")


def test_a_case_that_is_abandoned_keeps_its_owner() -> None:
    case = claimed_case("olga")
    services.abandon(saga_id=case.saga_id or uuid4(), operator="grace", reason="r")
    approved_by("ada")

    case.refresh_from_db()

    assert (case.status, case.resolution, case.owner) == ("CLOSED", "abandoned", "olga")
