"""The page that edits a message: what it shows and hides, what it refuses, and who has to agree."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import transaction
from django.db.models import F
from django.urls import reverse
from pytest_django import Settings
from uuid_utils.compat import uuid7

from outbox.contracts import MessageDeadLettered
from outbox.models import Delivery, Message
from sagas import editing, services
from sagas.editing import NotEditable
from sagas.models import Approval, Case, OperatorAction, SagaInstance
from sagas.wanted import StaleView
from tests.factories.cases import CARD, kill, refused_refund
from tests.factories.people import approved_by, colleague
from tests.factories.plays import run_engine
from tests.integration.desk.late_charge import (
    command_of,
    edited,
    go_on,
    key_of,
    order_created,
    stuck,
)
from tests.integration.desk.visits import hidden, signed_in, state, text
from tests.integration.simulator.process import Simulator
from tests.messaging import LONG, say

pytestmark = pytest.mark.django_db(transaction=True)

WHY: dict[str, Any] = {"operator": "olga", "reason": "the method was left out"}
METHOD = "pm_card_visa"


def entries(bank: Simulator, case: Case) -> list[tuple[str, str, int]]:
    """Return what the bank's ledger says of the order: kind, key, amount."""
    rows = bank.http.get("/bank/ledger", params={"order_id": str(case.key)}).json()
    return [(row["kind"], row["key"], row["amount"]) for row in rows]


def charge_at_bank(bank: Simulator, case: Case, *, method: str = METHOD) -> None:
    """Let the bank have heard of the charge, though we never had its answer."""
    bank.charge(key_of(case), method=method, order_id=str(case.key), amount=1250)


def page_of(case: Case) -> str:
    return reverse("desk:case-edit", args=[case.pk])


# --- events ---


def dead_event() -> tuple[Case, Message]:
    """Let analytics fail for good on an event that a person's data is part of."""
    created = order_created(uuid7(), method=CARD)
    [message_id] = say(created, key=created.order_id)
    message = Message.objects.get(pk=message_id)
    kill(message, "analytics")
    notice = MessageDeadLettered(
        message_id=message_id,
        message_type=message.type,
        message_kind="event",
        destination="analytics",
        attempts=3,
        error_class="KeyError",
        error="'x'",
        fingerprint="f",
    )
    say(notice, key=created.order_id)
    run_engine()
    return Case.objects.get(key=created.order_id, destination="analytics"), message


def test_an_edited_event_goes_to_one_consumer_and_what_was_struck_out_stays(bank: Simulator) -> None:
    case, message = dead_event()
    client = signed_in("edit_message")
    page = client.get(page_of(case))
    payload = editing.shown(message)
    assert (payload["address"], payload["payment_method"]) == ("•••", "•••")
    place = Delivery.objects.filter(message_id=message.pk, destination="analytics").values_list("pk", flat=True)[0]
    others = list(Delivery.objects.exclude(pk=place).order_by("pk").values_list("pk", "message_id"))

    answer = client.post(
        page_of(case),
        {
            "payload": json.dumps({**payload, "payment_method": "pm_other"}),
            "reason": "r",
            "seen": hidden(page, "seen"),
        },
    )

    assert answer.status_code == 302
    delivery = Delivery.objects.defer("available_at").get(pk=place)
    copy = Message.objects.get(pk=delivery.message_id)
    assert copy.payload == {**message.payload, "payment_method": "pm_other"}
    assert (copy.causation_id, delivery.dead_at, delivery.attempts) == (message.pk, None, 0)
    assert list(Delivery.objects.filter(message_id=copy.pk).values_list("destination", flat=True)) == ["analytics"]
    assert list(Delivery.objects.exclude(pk=place).order_by("pk").values_list("pk", "message_id")) == others
    entry = OperatorAction.objects.get()
    assert entry.seen["replaced_by"] == str(copy.pk)
    assert entry.seen["difference"] == {"payment_method": ["•••", "•••"]}


def test_the_page_shows_nothing_about_a_person(bank: Simulator) -> None:
    case, message = dead_event()

    page = signed_in("edit_message").get(page_of(case)).content.decode()

    personal = [message.payload["payment_method"], *message.payload["address"].values()]
    assert [each for each in personal if len(each) > 3 and each in page] == []
    assert "•••" in page


# --- the page ---


def test_the_page_says_what_may_be_changed_and_why_the_rest_may_not(bank: Simulator) -> None:
    case = stuck()

    page = text(signed_in("edit_message").get(page_of(case)))

    assert "You may change payment_method of payment.charge." in page
    assert "amount : how much money moves was agreed with the customer at checkout." in page
    assert "payment.charge is delivered again as you edit it: fresh attempts, the same idempotency key." in page
    assert f"The bank, asked about {key_of(case)}: no charge is known under this key." in page
    assert "charge 12.50 EUR from the customer, once" in page


def test_a_charge_is_edited_at_the_desk(bank: Simulator) -> None:
    case = stuck()
    client = signed_in("edit_message")
    page = client.get(page_of(case))
    payload = json.dumps({**editing.shown(command_of(case)), "payment_method": METHOD})

    answer = client.post(page_of(case), {"payload": payload, "reason": "r", "seen": hidden(page, "seen")}, follow=True)
    go_on()

    assert "Edit and retry: requested." in text(answer)
    assert entries(bank, case) == [("charge", key_of(case), 1250)]


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        ("{", "It is no JSON"),
        ("[]", "The payload must be a JSON object"),
        ('{"amount": 1}', "amount cannot be changed"),
        ('{"payment_method": "4242 4242 4242 4242"}', "looks like a card number"),
    ],
)
def test_a_wrong_payload_is_given_back_with_what_is_wrong(bank: Simulator, payload: str, why: str) -> None:
    case = stuck()
    client = signed_in("edit_message")
    seen = hidden(client.get(page_of(case)), "seen")
    before = state()

    answer = client.post(page_of(case), {"payload": payload, "reason": "r", "seen": seen})

    assert answer.status_code == 200
    assert why.lower() in text(answer).lower()
    assert state() == before


def test_what_the_bank_knows_is_refused_at_the_desk_with_the_reason(bank: Simulator) -> None:
    case = stuck()
    client = signed_in("edit_message")
    seen = hidden(client.get(page_of(case)), "seen")
    charge_at_bank(bank, case)
    before = state()
    payload = json.dumps({**editing.shown(command_of(case)), "payment_method": METHOD})

    answer = client.post(page_of(case), {"payload": payload, "reason": "my reason", "seen": seen})

    assert answer.status_code == 409
    assert "The bank has acted on it already" in text(answer)
    assert "my reason" in answer.content.decode()
    assert state() == before


def test_a_stale_page_edits_nothing(bank: Simulator) -> None:
    case = stuck()
    client = signed_in("edit_message")
    seen = hidden(client.get(page_of(case)), "seen")
    SagaInstance.objects.update(updated_at=F("updated_at") + LONG)
    before = state()
    payload = json.dumps({**editing.shown(command_of(case)), "payment_method": METHOD})

    answer = client.post(page_of(case), {"payload": payload, "reason": "r", "seen": seen})

    assert answer.status_code == 409
    assert "The saga has changed since you looked" in text(answer)
    assert state() == before


def test_a_closed_case_is_not_edited(bank: Simulator) -> None:
    case = stuck()
    services.retry(saga_id=case.saga_id or case.key, operator="olga")
    client = signed_in("edit_message")
    before = state()

    answers = [client.get(page_of(case)), client.post(page_of(case), {"payload": "{}", "reason": "r"})]

    assert [answer.status_code for answer in answers] == [409, 409]
    assert "The case is closed already: retried." in text(answers[0])
    assert state() == before


def test_without_the_permission_nobody_edits(bank: Simulator) -> None:
    case = stuck()
    client = signed_in("retry_case")
    before = state()

    page = client.get(reverse("admin:sagas_case_change", args=[case.pk]))
    answers = [client.get(page_of(case)), client.post(page_of(case), {"payload": "{}", "reason": "r"})]

    assert page_of(case) not in page.content.decode()
    assert [answer.status_code for answer in answers] == [403, 403]
    assert state() == before


def test_with_the_permission_the_page_of_a_case_offers_it(bank: Simulator) -> None:
    case = stuck()

    page = signed_in("edit_message").get(reverse("admin:sagas_case_change", args=[case.pk]))

    assert page_of(case) in page.content.decode()


# --- together with a second person ---


def test_much_money_is_edited_only_with_a_second_person(bank: Simulator, settings: Settings) -> None:
    settings.FOUR_EYES_AMOUNT = {"": 100}
    case = stuck()

    result = services.edit(case_id=case.pk, payload=edited(case, payment_method=METHOD), **WHY)
    go_on()
    assert (result, entries(bank, case)) == ("awaits approval", [])

    assert approved_by("ada") == "requested"
    go_on()
    assert entries(bank, case) == [("charge", key_of(case), 1250)]
    approvals = OperatorAction.objects.filter(action="edit")
    assert list(approvals.values_list("operator", "approved_by")) == [("olga", "ada")]


def test_an_approval_asks_the_bank_anew(bank: Simulator, settings: Settings) -> None:
    settings.FOUR_EYES_AMOUNT = {"": 100}
    case = stuck()
    services.edit(case_id=case.pk, payload=edited(case, payment_method=METHOD), **WHY)
    charge_at_bank(bank, case)
    colleague("ada")
    before = state()

    with pytest.raises(NotEditable, match="the bank has acted on it already"):
        services.approve(approval_id=Approval.objects.get().pk, operator="ada")

    assert state() == before


def test_of_two_edits_one_is_made(bank: Simulator) -> None:
    case = stuck()
    change = editing.prepare(case=case, payload=edited(case, payment_method=METHOD))
    services.edit(case_id=case.pk, payload=edited(case, payment_method="pm_other"), **WHY)
    before = state()

    with pytest.raises(StaleView), transaction.atomic():
        services._replace(change, "payments")

    assert state() == before


def test_where_nothing_may_be_changed_there_is_no_button_and_the_page_says_why() -> None:
    case = refused_refund()
    client = signed_in("edit_message")

    page = client.get(reverse("admin:sagas_case_change", args=[case.pk]))
    answer = client.get(page_of(case))

    assert page_of(case) not in page.content.decode()
    assert answer.status_code == 409
    assert "Nothing of payment.refund may be changed (amount: how much money moves was agreed" in text(answer)
