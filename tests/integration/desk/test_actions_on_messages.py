"""An event is delivered again to a consumer that has missed it, and to nobody else."""

from __future__ import annotations

import pytest
from django.urls import reverse

from outbox.models import Delivery, InboxEntry, Message
from sagas.models import OperatorAction
from tests.factories.cases import refused_event, running_saga
from tests.integration.desk.late_charge import command_of
from tests.integration.desk.visits import signed_in, state, text

pytestmark = pytest.mark.django_db

WHY = {"reason": "the customer called"}


def redeliver_url(message: Message) -> str:
    return reverse("desk:message-redeliver", args=[message.pk])


def test_an_event_is_delivered_again_to_who_has_missed_it() -> None:
    saga = running_saga()
    created = Message.objects.get(ordering_key=saga.key, type="order.created")
    Delivery.objects.filter(message_id=created.pk).delete()
    client = signed_in("redeliver_message")

    page = client.get(redeliver_url(created))
    answer = client.post(redeliver_url(created), WHY | {"consumer": "analytics"}, follow=True)

    assert "analytics not handled it would handle it" in text(page)
    assert "order.created is delivered to analytics again: requested." in text(answer)
    delivery = Delivery.objects.defer("available_at").get(message_id=created.pk)
    assert (delivery.destination, delivery.dead_at, delivery.ordering_key) == ("analytics", None, saga.key)
    entry = OperatorAction.objects.get()
    assert (entry.action, entry.result, entry.key) == ("redeliver", "requested", saga.key)


def test_what_was_handled_already_is_not_delivered_again_and_the_answer_says_so() -> None:
    saga = running_saga()
    created = Message.objects.get(ordering_key=saga.key, type="order.created")
    Delivery.objects.filter(message_id=created.pk).delete()
    InboxEntry.objects.create(consumer="analytics", message_id=created.pk)

    answer = signed_in("redeliver_message").post(redeliver_url(created), WHY | {"consumer": "analytics"}, follow=True)

    assert "analytics has handled order.created already: nothing was delivered." in text(answer)
    assert not Delivery.objects.filter(message_id=created.pk).exists()
    assert OperatorAction.objects.get().result == "handled already"


def test_what_is_dead_or_on_its_way_is_not_delivered_twice() -> None:
    case = refused_event()
    dead = command_of(case)
    client = signed_in("redeliver_message")
    before = state()

    of_dead = client.post(redeliver_url(dead), WHY | {"consumer": "notifications"})
    on_its_way = client.post(redeliver_url(dead), WHY | {"consumer": "analytics"})

    assert (of_dead.status_code, on_its_way.status_code) == (409, 409)
    assert "It is dead at notifications" in text(of_dead)
    assert "It is on its way to analytics already." in text(on_its_way)
    assert state() == before


def test_a_command_is_not_delivered_again_by_itself() -> None:
    saga = running_saga()
    command = Message.objects.get(ordering_key=saga.key, type="inventory.reserve")
    client = signed_in("redeliver_message")
    before = state()

    answers = [client.get(redeliver_url(command)), client.post(redeliver_url(command), WHY | {"consumer": "inventory"})]

    assert [answer.status_code for answer in answers] == [409, 409]
    assert "A command is not delivered again by itself" in text(answers[0])
    assert (
        redeliver_url(command)
        not in client.get(reverse("admin:outbox_message_change", args=[command.pk])).content.decode()
    )
    assert state() == before


def test_without_the_permission_nobody_delivers_again() -> None:
    saga = running_saga()
    created = Message.objects.get(ordering_key=saga.key, type="order.created")
    client = signed_in()
    before = state()

    page = client.get(reverse("admin:outbox_message_change", args=[created.pk]))
    answers = [client.get(redeliver_url(created)), client.post(redeliver_url(created), WHY | {"consumer": "analytics"})]

    assert redeliver_url(created) not in page.content.decode()
    assert [answer.status_code for answer in answers] == [403, 403]
    assert state() == before


def test_with_the_permission_the_page_of_an_event_offers_it() -> None:
    saga = running_saga()
    created = Message.objects.get(ordering_key=saga.key, type="order.created")

    page = signed_in("redeliver_message").get(reverse("admin:outbox_message_change", args=[created.pk]))

    assert redeliver_url(created) in page.content.decode()


@pytest.mark.parametrize("given", [{"consumer": "analytics", "reason": " "}, {"consumer": "nobody", "reason": "r"}])
def test_without_a_reason_or_a_consumer_nothing_is_delivered(given: dict[str, str]) -> None:
    saga = running_saga()
    created = Message.objects.get(ordering_key=saga.key, type="order.created")
    before = state()

    answer = signed_in("redeliver_message").post(redeliver_url(created), given)

    assert answer.status_code == 200
    assert state() == before
