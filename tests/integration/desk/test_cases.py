"""The desk's case page: four named actions, each confirmed, explained, permitted on its own, and told honestly."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from outbox.models import Message
from sagas.models import Case, OperatorAction, SagaInstance
from tests.factories.cases import deliveries_of, is_dead, refused_event, refused_refund
from tests.factories.people import approved_by

pytestmark = pytest.mark.django_db

ACTIONS = ("retry", "skip", "resolve", "abandon")
FILLED = {"reason": "the customer called", "reference": "SEPA-1"}


def operator(*actions: str) -> Client:
    """Log an operator in who may look at cases and do these actions."""
    user = User.objects.create(username="olga", is_staff=True)
    names = ["view_case", *(f"{action}_case" for action in actions)]
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    client = Client()
    client.force_login(user)
    return client


def page_of(case: Case, action: str = "change") -> str:
    return reverse("admin:sagas_case_change", args=[case.pk]).replace("/change/", f"/{action}/")


def text(response: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", response.content.decode()))


def seen(response: Any) -> str:
    found = re.search(r'name="seen" value="([^"]+)"', response.content.decode())
    assert found is not None
    return found[1]


def act(client: Client, case: Case, action: str, **changes: str) -> HttpResponse:
    """Open the confirmation page, fill it in and send it, as a browser does."""
    page = client.get(page_of(case, action))
    answer = client.post(page_of(case, action), FILLED | {"seen": seen(page)} | changes)
    return client.get(answer["Location"]) if answer.status_code == 302 else answer  # type: ignore[return-value]


def state() -> list[object]:
    return [
        list(SagaInstance.objects.values_list("pk", "status", "steps", "updated_at")),
        list(Case.objects.values_list("pk", "status", "resolution", "reason", "reference")),
        OperatorAction.objects.count(),
        Message.objects.count(),
        [is_dead(case) for case in Case.objects.order_by("pk")],
    ]


@pytest.mark.parametrize(
    ("action", "resolution", "step", "saga", "result"),
    [
        ("retry", "retried", "COMPENSATING", "COMPENSATING", "Retry: requested."),
        ("skip", "skipped", "SKIPPED", "COMPENSATING", "Skip: requested."),
        ("resolve", "resolved", "RESOLVED", "COMPENSATING", "Resolve by hand: requested."),
    ],
)
def test_an_action_is_carried_out_and_said(action: str, resolution: str, step: str, saga: str, result: str) -> None:
    case = refused_refund()

    page = act(operator(action), case, action)

    case.refresh_from_db()
    assert case.saga is not None
    assert result in text(page)
    assert (case.status, case.resolution, case.reason) == ("CLOSED", resolution, FILLED["reason"])
    assert (case.saga.steps["charge-payment"]["status"], case.saga.status) == (step, saga)


@pytest.mark.parametrize("action", ["retry", "skip", "resolve"])
def test_the_log_names_the_operator_and_what_he_saw(action: str) -> None:
    case = refused_refund()

    act(operator(action), case, action)

    entry = OperatorAction.objects.get()
    assert (entry.operator, entry.action, entry.key) == ("olga", action, case.key)
    assert (entry.reason, entry.seen["status"]) == (FILLED["reason"], "SUSPENDED")


def test_retry_delivers_the_same_message_again() -> None:
    case = refused_refund()

    act(operator("retry"), case, "retry")

    assert is_dead(case) == [False]


def test_a_retried_case_shows_that_its_step_is_not_done_yet() -> None:
    case = refused_refund()

    page = text(act(operator("retry"), case, "retry"))

    assert "Step now COMPENSATING" in page
    assert "Resolution Retried" in page


@pytest.mark.parametrize(
    ("action", "effects"),
    [
        ("retry", ["payment.refund is delivered again as it was: fresh attempts, the same idempotency key."]),
        (
            "skip",
            [
                "Step charge-payment (compensation) counts as SKIPPED; payment.refund is not sent again.",
                "Then inventory.release is sent (reserve-inventory, compensation).",
            ],
        ),
        (
            "resolve",
            [
                "Step charge-payment (compensation) counts as RESOLVED: it was done by hand.",
                "Then inventory.release is sent (reserve-inventory, compensation).",
            ],
        ),
        (
            "abandon",
            ["What was done is not undone: reserve-inventory.", "No further command is sent for this saga."],
        ),
    ],
)
def test_the_confirmation_page_says_what_will_happen_and_does_nothing(action: str, effects: list[str]) -> None:
    case = refused_refund()
    before = state()

    page = text(operator(action).get(page_of(case, action)))

    assert [effect for effect in effects if effect not in page] == []
    assert "The saga is SUSPENDED now" in page
    assert state() == before


def test_retry_without_a_dead_message_sends_a_new_command() -> None:
    case = refused_refund()
    deliveries_of(case).delete()
    client = operator("retry")

    page = text(client.get(page_of(case, "retry")))
    act(client, case, "retry")

    assert "A new payment.refund is sent with an idempotency key of its own" in page
    assert Message.objects.filter(ordering_key=case.key).latest().headers["step"] == "charge-payment~2"


@pytest.mark.parametrize("action", ACTIONS)
def test_without_its_permission_an_action_has_no_button_and_is_forbidden(action: str) -> None:
    case = refused_refund()
    client = operator(*(other for other in ACTIONS if other != action))
    before = state()

    page = client.get(page_of(case))
    asked = client.get(page_of(case, action))
    sent = client.post(page_of(case, action), FILLED)

    links = re.findall(r'href="[^"]*/case/\d+/(\w+)/"', page.content.decode())
    assert set(ACTIONS) & set(links) == set(ACTIONS) - {action}
    assert (asked.status_code, sent.status_code) == (403, 403)
    assert state() == before


def test_a_permission_to_act_is_none_to_look() -> None:
    case = refused_refund()
    client = operator("retry")
    User.objects.get().user_permissions.remove(Permission.objects.get(codename="view_case"))

    assert client.get(page_of(case, "retry")).status_code == 403


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("reason", ["", "  "])
def test_without_a_reason_nothing_is_changed(action: str, reason: str) -> None:
    case = refused_refund()
    before = state()

    page = act(operator(action), case, action, reason=reason)

    assert page.status_code == 200
    assert "Reason * This field is required." in text(page)
    assert state() == before


def test_without_a_reference_nothing_is_resolved() -> None:
    case = refused_refund()
    before = state()

    page = act(operator("resolve"), case, "resolve", reference=" ")

    assert "Reference * This field is required." in text(page)
    assert state() == before


@pytest.mark.parametrize("claimed", ["", "yesterday"])
def test_without_what_was_seen_nothing_is_changed(claimed: str) -> None:
    case = refused_refund()
    before = state()

    page = act(operator("skip"), case, "skip", seen=claimed)

    assert page.status_code == 200
    assert state() == before


@pytest.mark.parametrize("action", ACTIONS)
def test_a_stale_view_is_refused_with_the_new_state_and_what_was_typed(action: str) -> None:
    case = refused_refund()
    assert case.saga is not None
    client = operator(action)
    earlier = (case.saga.updated_at - timedelta(microseconds=1)).isoformat()
    before = state()

    page = act(client, case, action, seen=earlier)

    assert page.status_code == 409
    assert "Nothing was changed: the saga has changed since you looked: it is SUSPENDED now" in text(page)
    assert FILLED["reason"] in page.content.decode()
    assert seen(page) == case.saga.updated_at.isoformat()
    assert state() == before


@pytest.mark.django_db(transaction=True)
def test_of_two_operators_with_the_same_page_open_one_acts() -> None:
    case = refused_refund()
    client = operator("retry", "abandon")
    page = client.get(page_of(case, "abandon"))
    act(client, case, "retry")
    before = state()

    answer = client.post(page_of(case, "abandon"), FILLED | {"seen": seen(page)}, follow=True)

    assert answer.status_code == 409
    assert "The saga has changed since you looked: it is COMPENSATING now; look again." in text(answer)
    assert state() == before


@pytest.mark.parametrize("action", ACTIONS)
def test_a_closed_case_offers_nothing(action: str) -> None:
    case = refused_refund()
    client = operator(*ACTIONS)
    act(client, case, "abandon")
    approved_by("ada")
    before = state()

    page = client.get(page_of(case))
    answer = client.get(page_of(case, action), follow=True)

    assert f"/case/{case.pk}/{action}/" not in page.content.decode()
    assert "is not possible: the case is closed already: abandoned." in text(answer)
    assert state() == before


@pytest.mark.parametrize(
    ("action", "resolution", "result", "is_delivered"),
    [
        ("retry", "retried", "Retry: requested.", True),
        ("resolve", "resolved", "Resolve by hand: done.", False),
    ],
)
def test_a_case_outside_any_saga_is_settled_too(action: str, resolution: str, result: str, is_delivered: bool) -> None:
    case = refused_event()
    client = operator(action)

    answer = client.post(page_of(case, action), FILLED, follow=True)

    case.refresh_from_db()
    assert result in text(answer)
    assert (case.status, case.resolution) == ("CLOSED", resolution)
    to_notifications = deliveries_of(case).filter(destination="notifications")
    assert list(to_notifications.values_list("dead_at", flat=True)) == ([None] if is_delivered else [])
    assert OperatorAction.objects.get().case_id == case.pk


def test_a_case_outside_any_saga_has_no_step_to_skip() -> None:
    case = refused_event()
    client = operator(*ACTIONS)
    before = state()

    page = client.get(page_of(case))
    answer = client.post(page_of(case, "skip"), FILLED, follow=True)

    assert f"/case/{case.pk}/skip/" not in page.content.decode()
    assert answer.status_code == 409
    assert "This case belongs to no saga; there is no step to act on." in text(answer)
    assert state() == before


def test_nothing_is_changed_past_the_actions() -> None:
    case = refused_refund()
    client = operator(*ACTIONS)
    before = state()

    answers = [
        client.post(page_of(case), {"status": "CLOSED"}),
        client.post(page_of(case, "delete"), {"post": "yes"}),
        client.post(reverse("admin:sagas_case_add"), {}),
    ]

    assert [answer.status_code for answer in answers] == [403, 403, 403]
    assert state() == before
