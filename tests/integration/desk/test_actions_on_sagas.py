"""A whole saga is turned back and an order cancelled, as long as it is not too late."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from outbox.models import Message
from sagas import services
from sagas.models import Approval, OperatorAction, SagaInstance
from tests.factories.cases import completed_saga, refused_refund, running_saga
from tests.factories.plays import Play
from tests.integration.desk.visits import hidden, signed_in, state, text

pytestmark = pytest.mark.django_db

WHY = {"reason": "the customer called"}


def compensate_url(saga: SagaInstance) -> str:
    return reverse("desk:saga-action", args=[saga.pk, "compensate"])


def cancel_url(saga: SagaInstance) -> str:
    return reverse("desk:order-cancel", args=[saga.key])


def send(client: Client, url: str, **changes: str) -> Any:
    """Open the page, fill it in and send it, as a browser does."""
    page = client.get(url)
    return client.post(url, WHY | {"seen": hidden(page, "seen"), "looked_up": hidden(page, "looked_up")} | changes)


@pytest.mark.parametrize(("action", "url"), [("compensate", compensate_url), ("cancel", cancel_url)])
def test_a_running_saga_is_turned_back(action: str, url: Any) -> None:
    saga = running_saga()

    answer = send(signed_in("compensate_saga", "cancel_order"), url(saga))

    saga.refresh_from_db()
    assert answer.status_code == 302
    assert (saga.status, saga.reason) == ("COMPENSATING", "cancelled_by_operator")
    assert Message.objects.filter(ordering_key=saga.key).latest().type == "inventory.release"
    entry = OperatorAction.objects.get()
    assert (entry.operator, entry.action, entry.result, entry.reason) == (
        "olga",
        action,
        "requested",
        "the customer called",
    )
    assert (entry.saga_id, entry.key, entry.seen["status"]) == (saga.pk, saga.key, "RUNNING")
    assert entry.origin == "127.0.0.1"


@pytest.mark.parametrize("url", [compensate_url, cancel_url])
def test_past_the_pivot_a_return_is_offered_instead(url: Any) -> None:
    saga = completed_saga()
    client = signed_in("compensate_saga", "cancel_order")
    before = state()

    looked = client.get(url(saga))
    sent = client.post(url(saga), WHY | {"seen": saga.updated_at.isoformat()})

    assert (looked.status_code, sent.status_code) == (409, 409)
    assert "offer" in text(looked)
    assert "return" in text(looked)
    assert state() == before


@pytest.mark.django_db(transaction=True)
def test_while_the_order_is_being_confirmed_a_return_is_offered_instead() -> None:
    play = Play().begin().reserved().charged().shipped()
    client = signed_in("cancel_order")
    before = state()

    answer = client.get(cancel_url(play.saga()))

    assert answer.status_code == 409
    assert "can no longer be undone; offer the customer a return" in text(answer)
    assert state() == before


@pytest.mark.parametrize(("permission", "url"), [("compensate_saga", compensate_url), ("cancel_order", cancel_url)])
def test_without_its_permission_nobody_turns_a_saga_back(permission: str, url: Any) -> None:
    saga = running_saga()
    client = signed_in(*({"compensate_saga", "cancel_order"} - {permission}))
    before = state()

    pages = [
        client.get(reverse("desk:order", args=[saga.key])),
        client.get(reverse("admin:sagas_sagainstance_change", args=[saga.pk])),
    ]
    asked = client.get(url(saga))
    sent = client.post(url(saga), WHY | {"seen": saga.updated_at.isoformat()})

    assert [url(saga) in page.content.decode() for page in pages] == [False, False]
    assert (asked.status_code, sent.status_code) == (403, 403)
    assert state() == before


def test_with_the_permission_the_pages_of_saga_and_order_offer_it() -> None:
    saga = running_saga()
    client = signed_in("compensate_saga", "cancel_order")

    of_order = client.get(reverse("desk:order", args=[saga.key])).content.decode()
    of_saga = client.get(reverse("admin:sagas_sagainstance_change", args=[saga.pk])).content.decode()

    assert compensate_url(saga) in of_saga
    assert compensate_url(saga) in of_order
    assert cancel_url(saga) in of_order


def test_a_saga_that_turns_back_already_offers_nothing() -> None:
    case = refused_refund()
    saga = case.saga
    assert saga is not None
    client = signed_in("compensate_saga", "cancel_order")
    before = state()

    of_order = client.get(reverse("desk:order", args=[saga.key])).content.decode()
    answer = client.get(compensate_url(saga))

    assert cancel_url(saga) not in of_order
    assert answer.status_code == 409
    assert "The saga is turning back already: shipping_refused" in text(answer).replace(
        "Compensate from here is not possible: the", "The"
    )
    assert state() == before


def test_a_stale_page_turns_nothing_back_and_gives_back_what_was_typed() -> None:
    saga = running_saga()
    client = signed_in("compensate_saga")
    page = client.get(compensate_url(saga))
    services.compensate(saga_id=saga.pk, operator="grace", reason="r")
    before = state()

    answer = client.post(compensate_url(saga), WHY | {"seen": hidden(page, "seen")})

    assert answer.status_code == 409
    assert "The saga has changed since you looked: it is COMPENSATING now; look again." in text(answer)
    assert "the customer called" in answer.content.decode()
    assert state() == before


@pytest.mark.parametrize("changes", [{"reason": " "}, {"seen": ""}])
def test_without_reason_or_state_nothing_is_turned_back(changes: dict[str, str]) -> None:
    saga = running_saga()
    client = signed_in("compensate_saga")
    before = state()

    answer = send(client, compensate_url(saga), **changes)

    assert answer.status_code == 200
    assert state() == before


def test_nothing_is_done_without_the_token_against_forged_requests() -> None:
    saga = running_saga()
    client = signed_in("compensate_saga")
    forged = Client(enforce_csrf_checks=True)
    forged.cookies = client.cookies
    before = state()

    answer = forged.post(compensate_url(saga), WHY | {"seen": saga.updated_at.isoformat()})

    assert answer.status_code == 403
    assert state() == before


def test_much_money_turns_back_only_with_a_second_person(settings: Any) -> None:
    settings.FOUR_EYES_AMOUNT = {"": 100}
    saga = running_saga()

    answer = send(signed_in("compensate_saga"), compensate_url(saga))

    saga.refresh_from_db()
    assert answer.status_code == 302
    assert saga.status == "RUNNING"
    approval = Approval.objects.get()
    assert (approval.action, approval.requested_by, approval.amount) == ("compensate", "olga", 1250)
    assert OperatorAction.objects.get().result == "awaits approval"
