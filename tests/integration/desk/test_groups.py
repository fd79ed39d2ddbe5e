"""Failure groups: what is open for the same reason, in plain words, with its money, its owners and its runbook."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from config.audit.run import CHECKS
from config.routing import ROUTING
from desk.group_page import open_groups
from desk.groups import ERRORS, FINDINGS, RUNBOOKS, group_of
from outbox.contracts import FailureEvent
from sagas import cases
from sagas.definition import definitions
from sagas.models import Case
from tests.factories.cases import refused_event, refused_refund
from tests.factories.people import colleague

pytestmark = pytest.mark.django_db

DOCS = Path(__file__).resolve().parents[3] / "docs"


def change(case: Case, **fields: Any) -> Case:
    Case.objects.filter(pk=case.pk).update(**fields)
    return case


def signed_in(*permissions: str) -> Client:
    client = Client()
    client.force_login(colleague("olga", *(permissions or ("view_case",))))
    return client


def text(answer: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.content.decode()))


# --- what a group is called ---


@pytest.mark.parametrize(
    ("fields", "title", "runbook"),
    [
        (
            {"error_class": "RefundRefused", "step": "charge-payment", "direction": "compensation"},
            "The bank refuses to give the money back, undoing charge-payment",
            "refund-refused",
        ),
        (
            {"error_class": "TransientError", "destination": "shipping", "step": "create-shipment"},
            "No answer from the carrier's side (shipping) until the attempts were spent, step create-shipment",
            "no-answer",
        ),
        ({"error_class": "KeyError", "destination": "orders"}, "KeyError in orders", "handler-bug"),
        ({"error_class": "", "destination": ""}, "An error in an unknown place", "handler-bug"),
        (
            {"error_class": "ShipmentFailed", "error": "shipping_refused: no such country"},
            "Shipping refuses: shipping refused",
            "step-refused",
        ),
        (
            {"fingerprint": "deadline:order-fulfilment:confirm-order", "step": "confirm-order", "direction": "action"},
            "No answer in time: the step confirm-order",
            "deadline-passed",
        ),
        (
            {"fingerprint": "deadline:order-fulfilment:close", "step": "charge-payment", "direction": "compensation"},
            "No answer in time: undoing charge-payment",
            "deadline-passed",
        ),
        ({"fingerprint": "semantic-lock"}, "A saga waits for another one of the same order", "semantic-lock"),
        ({"fingerprint": "audit:I1"}, "The consistency audit found a contradiction (I1)", "audit-finding"),
        ({"fingerprint": "disputed"}, "A customer disputes a charge at the bank", "disputed-charge"),
        ({"fingerprint": "second_parcel"}, "The carrier has more than one parcel for an order", "unwanted-parcel"),
    ],
)
def test_a_group_has_a_title_in_plain_words_and_a_runbook(fields: dict[str, str], title: str, runbook: str) -> None:
    group = group_of(Case(**{"fingerprint": "f1", **fields}))

    assert (group.title, group.runbook) == (title, runbook)
    assert group.means.endswith(".")


def test_every_finding_of_a_ledger_has_words() -> None:
    findings = (DOCS / "explanation" / "reconciliation.md").read_text().split("## Findings")[1].split("## Webhooks")[0]
    documented = {name for row in re.findall(r"^\| (`.*?)\|", findings, re.M) for name in re.findall(r"`(\w+)`", row)}
    sources = [*(DOCS.parent / "payments").glob("*.py"), *(DOCS.parent / "shipping").glob("*.py")]
    told = {found for path in sources for found in re.findall(r'"([a-z_]+)"', path.read_text()) if found in documented}

    assert set(FINDINGS) == documented
    assert {"charge_unexplained", "disputed", "parcel_stopped"} <= told


def test_every_refusal_of_a_step_has_words() -> None:
    refusals = {kind.__name__ for kind in ROUTING.types.values() if issubclass(kind, FailureEvent)}

    assert refusals - set(ERRORS) == set()
    assert "ShipmentFailed" in refusals


def test_every_step_that_can_be_late_has_words_and_a_runbook() -> None:
    marks = {
        f"deadline:{definition.name}:{step}" for definition in definitions().values() for step in definition.by_name
    }

    assert {group_of(Case(fingerprint=mark)).runbook for mark in marks} == {"deadline-passed"}


def test_every_invariant_of_the_audit_has_words_and_a_runbook() -> None:
    marks = {f"audit:{check.invariant}" for check in CHECKS}

    assert {group_of(Case(fingerprint=mark)).runbook for mark in marks} == {"audit-finding"}


@pytest.mark.parametrize("runbook", sorted(RUNBOOKS))
def test_every_group_has_a_runbook_that_is_linked_from_the_index(runbook: str) -> None:
    page = DOCS / "runbooks" / f"{runbook}.md"

    assert page.is_file()
    assert f"](runbooks/{runbook}.md)" in (DOCS / "index.md").read_text()


@pytest.mark.parametrize("runbook", sorted(RUNBOOKS - {"audit-finding"}))
def test_a_runbook_tells_symptom_meaning_looks_deeds_and_when_to_call_somebody(runbook: str) -> None:
    headings = re.findall(r"^## (.+)$", (DOCS / "runbooks" / f"{runbook}.md").read_text(), re.MULTILINE)

    assert headings == ["Symptom", "What it means", "Look", "Do", "Escalate", "Done"]


@pytest.mark.parametrize("runbook", sorted(RUNBOOKS))
def test_the_desk_shows_the_runbook(runbook: str) -> None:
    answer = signed_in().get(reverse("desk:runbook", args=[runbook]))

    assert answer.status_code == 200
    assert "<h2>Symptom</h2>" in answer.content.decode()


@pytest.mark.parametrize("name", ["nothing", "settings"])
def test_there_is_no_other_page_behind_the_runbooks(name: str) -> None:
    assert signed_in().get(reverse("desk:runbook", args=[name])).status_code == 404


@pytest.mark.parametrize("path", ["../index", "%2e%2e%2findex", "../../pyproject.toml"])
def test_no_path_leads_out_of_the_runbooks(path: str) -> None:
    assert signed_in().get(f"/admin/desk/runbooks/{path}/").status_code == 404


def test_runbooks_may_be_read_elsewhere(settings: Any) -> None:
    settings.RUNBOOKS_URL = "https://wiki.example.com/runbooks/"

    assert group_of(Case(fingerprint="disputed")).runbook_url == "https://wiki.example.com/runbooks/disputed-charge.md"


def test_a_runbook_is_for_those_who_may_look_at_cases() -> None:
    assert signed_in("retry_case").get(reverse("desk:runbook", args=["no-answer"])).status_code == 403


# --- the page ---


def test_cases_that_failed_alike_are_one_group() -> None:
    refused_refund(), refused_refund()
    change(refused_event(), fingerprint="f2")

    assert sorted((each.group.title, each.cases) for each in open_groups()) == [
        ("KeyError in the mail to customers (notifications)", 1),
        ("The bank refuses to give the money back, undoing charge-payment", 2),
    ]


def test_a_group_sums_up_its_open_cases() -> None:
    now = timezone.now()
    first = change(refused_refund(), opened_at=now - timedelta(hours=3), due_at=now - timedelta(hours=1))
    change(refused_refund(), amount=99, currency="USD")
    change(refused_refund(), amount=None, currency="")
    change(refused_refund(), status="CLOSED")
    cases.claim(case_id=first.pk, operator="ada")

    [group] = open_groups()

    assert (group.cases, group.overdue, group.unowned) == (3, 1, 2)
    assert group.amounts == ["12.50 EUR", "0.99 USD"]
    assert (group.opened_at, group.due_at) == (now - timedelta(hours=3), now - timedelta(hours=1))
    assert group.owners == ["ada"]


def test_the_most_urgent_group_comes_first() -> None:
    change(refused_event(), fingerprint="f2", due_at=timezone.now() + timedelta(hours=9))
    refused_refund()

    assert [each.group.key for each in open_groups()] == ["f1", "f2"]


def test_the_groups_take_four_statements_however_many_there_are() -> None:
    for number in range(5):
        change(refused_refund(), fingerprint=f"f{number}")

    with CaptureQueriesContext(connection) as queries:
        found = open_groups()

    assert (len(found), len(queries)) == (5, 4)


def test_the_page_shows_a_group_and_leads_on() -> None:
    refused_refund()

    answer = signed_in().get(reverse("desk:groups"))

    page = text(answer)
    assert "1 open case in 1 group" in page
    assert "The bank refuses to give the money back, undoing charge-payment" in page
    assert "Open cases 1 Money that hangs on them 12.50 EUR" in page
    assert "Owners Nobody yet" in page
    assert f'href="{reverse("admin:sagas_case_changelist")}?fingerprint=f1"' in answer.content.decode()
    assert f'href="{reverse("desk:runbook", args=["refund-refused"])}"' in answer.content.decode()


def test_without_open_cases_the_page_says_so() -> None:
    assert "No case is open: nothing waits for a person." in text(signed_in().get(reverse("desk:groups")))


def test_who_may_act_on_many_can_begin_with_a_group() -> None:
    refused_refund()
    client = Client()
    person = colleague("olga")
    client.force_login(person)

    page = client.get(reverse("desk:groups")).content.decode()

    assert f'action="{reverse("desk:bulk-new")}"' in page
    assert 'name="group" value="f1"' in page
    assert re.findall(r'<option value="(\w+)">', page) == ["retry", "skip", "resolve", "abandon"]


def test_who_may_not_act_on_many_sees_no_button() -> None:
    refused_refund()

    assert (
        reverse("desk:bulk-new")
        not in signed_in("view_case", "retry_case").get(reverse("desk:groups")).content.decode()
    )


def test_the_groups_are_for_those_who_may_look_at_cases() -> None:
    assert signed_in("retry_case").get(reverse("desk:groups")).status_code == 403


def test_an_error_text_of_a_group_is_shown_as_text() -> None:
    change(refused_refund(), error="<script>alert(1)</script>", error_class="<b>")

    page = signed_in().get(reverse("desk:groups")).content.decode()

    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
