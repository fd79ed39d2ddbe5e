"""The page of a case: what happened, who has it, what was written on it, and what can be done."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from sagas import cases, services
from sagas.models import Case, CaseNote, OperatorAction
from tests.factories.cases import REFUSAL, refused_event, refused_refund
from tests.factories.people import colleague

pytestmark = pytest.mark.django_db

OWNING = ("view_case", "claim_case", "note_case")


def signed_in(name: str = "olga", *permissions: str) -> Client:
    client = Client()
    client.force_login(colleague(name, *(permissions or OWNING)))
    return client


def address(case: Case) -> str:
    return reverse("admin:sagas_case_change", args=[case.pk])


def text(answer: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.content.decode()))


def shown(client: Client, case: Case) -> str:
    answer = client.get(address(case))
    assert answer.status_code == 200
    return text(answer)


def state() -> list[object]:
    return [
        list(Case.objects.order_by("pk").values_list("pk", "status", "owner", "claimed_at")),
        list(CaseNote.objects.values_list("case_id", "text")),
        OperatorAction.objects.count(),
    ]


# --- what happened ---


def test_it_says_in_words_what_happened_and_what_it_means() -> None:
    case = refused_refund()

    page = shown(signed_in(), case)

    for sentence in (
        "The bank refuses to give the money back, undoing charge-payment",
        "The step “charge-payment” could not be undone.",
        "It was tried 5 times; then the case was opened,",
        "The order is being undone, because: shipping refused.",
        "The order&#x27;s saga stands still until a person decides.",
        "The customer&#x27;s money is still with the bank, and the order cannot be closed.",
        f"RefundRefused: {REFUSAL}",
        "Money that hangs on it 12.50 EUR",
    ):
        assert sentence in page


def test_a_case_outside_any_saga_says_so_and_names_no_money() -> None:
    page = shown(signed_in(), refused_event())

    assert "A message for notifications could not be handled." in page
    assert "Money that hangs on it - None is known to." in page
    assert "saga stands still" not in page


def test_it_leads_to_the_runbook_the_group_and_the_whole_story() -> None:
    case = refused_refund()

    page = signed_in().get(address(case)).content.decode()

    assert f'href="{reverse("desk:runbook", args=["refund-refused"])}"' in page
    assert f'href="{reverse("admin:sagas_case_changelist")}?fingerprint=f1"' in page
    assert f'href="{reverse("desk:order", args=[case.key])}"' in page


def test_an_overdue_case_says_since_when() -> None:
    case = refused_refund()
    Case.objects.filter(pk=case.pk).update(due_at=timezone.now() - timedelta(hours=2, minutes=5))

    page = shown(signed_in(), case)

    assert "To be settled overdue by 2 h 5 min" in page


def test_it_tells_of_the_order_s_other_cases() -> None:
    first = refused_event()
    services.close_message_case(case_id=first.pk, operator="grace", action="resolve", reason="r", reference="T-1")
    second = refused_refund()
    Case.objects.filter(pk=second.pk).update(key=first.key)

    page = shown(signed_in(), second)

    assert f"Other cases of this order Case Status Step Error Opened Case {first.pk} Resolved" in page


def test_a_closed_case_tells_how_it_ended_and_offers_nothing() -> None:
    case = refused_event()
    services.close_message_case(case_id=case.pk, operator="grace", action="resolve", reason="told him", reference="T-1")
    everything = (*OWNING, "retry_case", "resolve_case", "abandon_case")

    page = shown(signed_in("olga", *everything), case)

    assert "told him" in page
    assert "T-1" in page
    assert "What can be done" not in page
    assert "Claim" not in page
    assert "Add the note" not in page


def test_a_closed_case_whose_step_has_failed_again_leads_to_the_new_one() -> None:
    closed = refused_refund()
    Case.objects.filter(pk=closed.pk).update(status="CLOSED", resolution="retried", closed_at=timezone.now())
    newer = refused_refund()
    Case.objects.filter(pk=newer.pk).update(key=closed.key)

    page = shown(signed_in(), closed)

    assert f"the same step has failed again: case {newer.pk} is open" in page


def test_a_request_for_approval_is_told() -> None:
    case = refused_refund()
    services.abandon(saga_id=case.saga_id or case.key, operator="grace", reason="nobody will pay")

    page = shown(signed_in(), case)

    assert "grace has asked for “abandon” and waits for a second person until " in page
    assert "The reason: nobody will pay" in page


@pytest.mark.parametrize(
    ("reader", "permission", "buttons"),
    [
        ("olga", "approve_case", ["Approve: Abandon", "Decline: Abandon"]),
        ("grace", "view_case", ["Take back: Abandon"]),
        ("olga", "view_case", []),
    ],
)
def test_who_may_decide_about_a_request_has_a_button(reader: str, permission: str, buttons: list[str]) -> None:
    case = refused_refund()
    services.abandon(saga_id=case.saga_id or case.key, operator="grace", reason="r")

    page = signed_in(reader, "view_case", permission).get(address(case)).content.decode()

    assert re.findall(r"(?:Approve|Decline|Take back): \w+", page) == buttons


def test_whoever_asked_can_take_it_back_without_the_right_to_approve() -> None:
    case = refused_refund()
    services.abandon(saga_id=case.saga_id or case.key, operator="grace", reason="r")
    client = signed_in("grace", "view_case")

    answer = client.post(address(case).replace("change", "decline"), {"reason": "I was wrong"}, follow=True)

    assert "declined" in text(answer)
    assert list(case.saga.approvals.values_list("status", "decided_by")) == [("DECLINED", "grace")]  # type: ignore[union-attr]


def test_somebody_else_without_the_right_cannot_decline() -> None:
    case = refused_refund()
    services.abandon(saga_id=case.saga_id or case.key, operator="grace", reason="r")
    before = state()

    answer = signed_in("olga", "view_case").post(address(case).replace("change", "decline"), {"reason": "no"})

    assert answer.status_code == 403
    assert state() == before


def test_what_people_did_says_what_came_of_it() -> None:
    case = refused_refund()
    services.retry(saga_id=case.saga_id or case.key, operator="grace", reason="the bank says yes")

    page = shown(signed_in(), case)

    assert re.search(r"grace retry the bank says yes - - requested", page)


# --- its owner ---


@pytest.mark.parametrize(
    ("owner", "says", "buttons"),
    [
        (None, "Owner Nobody yet on-call is asked", ["claim"]),
        ("olga", "Owner olga (you) since ", ["release"]),
        ("ada", "Owner ada since ", ["take over"]),
    ],
)
def test_it_says_who_has_it_and_offers_what_fits(owner: str | None, says: str, buttons: list[str]) -> None:
    case = refused_refund()
    if owner:
        cases.claim(case_id=case.pk, operator=owner)

    answer = signed_in().get(address(case))

    assert says in text(answer)
    assert re.findall(r'name="do" value="([a-z ]+)"', answer.content.decode()) == buttons


def test_a_case_is_claimed_released_and_taken_over_by_its_buttons() -> None:
    case = refused_refund()
    url = reverse("desk:case-owner", args=[case.pk])
    olga, grace = signed_in("olga"), signed_in("grace")

    claimed = olga.post(url, {"do": "claim"}, follow=True)
    taken = grace.post(url, {"do": "take over", "owner": "olga", "reason": "her shift is over"}, follow=True)
    released = grace.post(url, {"do": "release"}, follow=True)

    assert "It is yours now" in text(claimed)
    assert "You have taken it over" in text(taken)
    assert "It is nobody&#x27;s now" in text(released)
    log = OperatorAction.objects.order_by("id").values_list("operator", "action", "origin")
    assert list(log) == [
        ("olga", "claim", "127.0.0.1"),
        ("grace", "take over", "127.0.0.1"),
        ("grace", "release", "127.0.0.1"),
    ]


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ({"do": "claim"}, "Ada has it already, since "),
        ({"do": "release"}, "Ada has the case: take it over, then you can release it."),
        ({"do": "take over", "owner": "grace", "reason": "r"}, "The case has changed since you looked: ada has it now"),
        ({"do": "take over", "owner": "ada", "reason": " "}, "Say why you take it over: its owner will read it."),
        ({"do": "burn"}, "No such button."),
    ],
)
def test_what_does_not_fit_any_more_is_refused_and_says_why(sent: dict[str, str], why: str) -> None:
    case = refused_refund()
    cases.claim(case_id=case.pk, operator="ada")
    before = state()

    answer = signed_in().post(reverse("desk:case-owner", args=[case.pk]), sent)

    assert answer.status_code == 409
    assert f"Nothing was changed {why}" in text(answer)
    assert state() == before


@pytest.mark.parametrize(("page", "sent"), [("case-owner", {"do": "claim"}), ("case-note", {"text": "x"})])
@pytest.mark.parametrize("permissions", [("view_case",), ("claim_case", "note_case")])
def test_without_the_permission_there_is_no_button_and_nothing_is_done(
    page: str, sent: dict[str, str], permissions: tuple[str, ...]
) -> None:
    case = refused_refund()
    client = signed_in("olga", *permissions)
    before = state()

    answer = client.post(reverse(f"desk:{page}", args=[case.pk]), sent)

    assert answer.status_code == 403
    assert reverse(f"desk:{page}", args=[case.pk]) not in client.get(address(case)).content.decode()
    assert state() == before


@pytest.mark.parametrize("page", ["case-owner", "case-note"])
def test_a_look_changes_nothing(page: str) -> None:
    case = refused_refund()
    before = state()

    assert signed_in().get(reverse(f"desk:{page}", args=[case.pk])).status_code == 405
    assert state() == before


# --- its notes ---


def test_notes_are_shown_in_order_of_time_as_text() -> None:
    case = refused_refund()
    url = reverse("desk:case-note", args=[case.pk])
    client = signed_in()

    client.post(url, {"text": "first <b>thing</b>"})
    answer = client.post(url, {"text": "second thing"}, follow=True)

    content = answer.content.decode()
    assert "Your note is on the case." in text(answer)
    assert 0 < content.index("first &lt;b&gt;thing") < content.index("second thing")
    assert list(CaseNote.objects.values_list("author", "origin")) == [("olga", "127.0.0.1")] * 2


def test_a_note_that_came_too_late_is_not_lost() -> None:
    case = refused_event()
    services.close_message_case(case_id=case.pk, operator="grace", action="resolve", reason="r", reference="T-1")

    answer = signed_in().post(reverse("desk:case-note", args=[case.pk]), {"text": "the bank called back"})

    assert answer.status_code == 409
    assert f"Case {case.pk} is closed already: resolved. You had written: the bank called back" in text(answer)
    assert CaseNote.objects.count() == 0
