"""An order's page tells all that happened, in one order of time, and keeps person and card to itself."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import Settings
from uuid_utils.compat import uuid7

from desk.timeline import page as pages
from desk.timeline.entries import KINDS, part, whole_story
from outbox.models import Attempt, Delivery, GatewayCall, Message
from payments.models import WebhookEvent
from sagas.models import Case, SagaInstance
from sagas.selectors import timeline
from tests.factories.cases import refused_event, running_saga
from tests.factories.people import colleague
from tests.factories.stories import CARD, KEY, NOTE, REASON, STREET, TRACE, troubled_order, worked_on

pytestmark = pytest.mark.django_db(transaction=True)


def text(response: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", response.content.decode()))


def open_page(client: Client, order_id: UUID, **query: Any) -> Any:
    return client.get(reverse("desk:order", args=[order_id]), query)


@pytest.fixture
def boss(client: Client) -> Client:
    """A person who may see everything."""
    client.force_login(colleague("grace"))
    return client


@pytest.fixture
def story() -> UUID:
    """An order with a story of every kind."""
    _, order_id = troubled_order()
    worked_on(order_id)
    return order_id


def test_the_page_tells_every_kind_of_thing_that_happened(boss: Client, story: UUID) -> None:
    page = text(open_page(boss, story))

    assert "Status PENDING" in page
    assert "SUSPENDED shipping refused running for" in page
    assert "Total 25.00 EUR" in page
    assert "Items 2 × MUG" in page
    for what in (
        "order placed",
        f"idempotency key: {KEY}",
        "goods reserved",
        "command payment.charge",
        "bank charge: timeout",
        "payment.charge failed at payments: retry",
        "bank look up: ok",
        "charge is charged now",
        "event payment.charged",
        "carrier create: refused",
        "parcel recorded: refused",
        "bank refund: refused",
        "payment.refund failed at payments: dead",
        "payment.refund for payments: dead, a person must settle it",
        "opened: RefundRefused",
        f"olga noted on case {Case.objects.filter(key=story).earliest('pk').pk}: {NOTE}",
        "olga: retry (failed again)",
        REASON,
        "step charge-payment (compensation) is STUCK",
        TRACE,
    ):
        assert what in page, what


def test_entries_stand_in_one_order_of_time(story: UUID) -> None:
    entries = list(whole_story(story))

    moments = [entry.at for entry in entries]
    assert moments == sorted(moments)
    said = [entry.detail["message_id"] for entry in entries if entry.kind == "message"]
    logged = Message.objects.filter(ordering_key=story).order_by("sequence").values_list("id", flat=True)
    assert said == list(logged)
    kinds = [entry.kind for entry in entries]
    assert kinds.count("call") == GatewayCall.objects.filter(ordering_key=story).count() > 5
    assert kinds.count("attempt") == Attempt.objects.filter(ordering_key=story).count()
    assert {"orders", "inventory", "payments", "shipping", "saga", "case", "note", "operator", "delivery"} <= set(kinds)
    charge = next(entry for entry in entries if entry.what == "command payment.charge")
    call = next(entry for entry in entries if entry.kind == "call")
    assert charge.at <= call.at


def test_neither_person_nor_card_is_shown(boss: Client, story: UUID) -> None:
    content = open_page(boss, story).content.decode()

    assert "•••" in content
    assert STREET not in content
    assert CARD not in content


def test_a_kind_is_chosen_without_a_script(boss: Client, story: UUID) -> None:
    page = open_page(boss, story, kind=["call", "attempt"])

    shown = {line.kind for line in page.context["lines"]}
    assert shown == {"call", "attempt"}
    assert "Show everything" in text(page)


def test_nothing_chosen_that_happened_says_so(boss: Client) -> None:
    saga = running_saga()

    page = open_page(boss, saga.key, kind="call")

    assert "Nothing of what you chose has happened." in text(page)


def test_offsets_gaps_and_durations_are_told(boss: Client, story: UUID) -> None:
    lines = open_page(boss, story).context["lines"]

    assert lines[0].offset == "+0 ms"
    assert lines[0].gap == ""
    assert all(line.gap for line in lines[1:])
    assert all(line.took for line in lines if line.kind == "call")


def test_the_newest_comes_first_when_it_is_asked_for(boss: Client, story: UUID) -> None:
    oldest = [line.what for line in open_page(boss, story).context["lines"]]
    newest = [line.what for line in open_page(boss, story, sort="newest").context["lines"]]

    assert newest == oldest[::-1]


def test_what_waits_is_told_with_what_blocks_it(boss: Client) -> None:
    saga = running_saga()
    Delivery.objects.filter(ordering_key=saga.key, destination="inventory").update(
        available_at=Now() + timedelta(hours=1)
    )

    page = text(open_page(boss, saga.key, kind="delivery"))

    assert "inventory.reserve for inventory: waits until it is due (ahead)" in page
    assert "attempts: 0" in page


def test_a_saga_with_thousands_of_attempts_is_read_in_parts(boss: Client) -> None:
    saga = running_saga()
    message = Message.objects.get(ordering_key=saga.key, kind="command")
    Attempt.objects.bulk_create(
        Attempt(
            message_id=message.pk,
            ordering_key=saga.key,
            destination="inventory",
            type=message.type,
            attempt=1,
            decision="retry",
            error_class="TransientError",
            error=f"try {number}.",
            fingerprint="f",
        )
        for number in range(3_000)
    )
    with CaptureQueriesContext(connection) as queries:
        first = open_page(boss, saga.key)
    second = open_page(boss, saga.key, page=2)
    last = open_page(boss, saga.key, sort="newest")

    assert len(first.context["lines"]) == pages.PAGE
    assert "Entries 1 to 200, oldest first." in text(first)
    assert f"Entries {pages.PAGE + 1} to {2 * pages.PAGE}" in text(second)
    assert "try 2999." in text(last)
    assert len(first.content) < 600_000
    assert len(queries) < 60
    assert "3000 failed tries" in first.content.decode()
    seen = [line.what for line in first.context["lines"]] + [line.what for line in second.context["lines"]]
    expected, _ = part(order_id=saga.key, kinds=KINDS.values(), skip=0, count=2 * pages.PAGE)
    assert seen == [entry.what for entry in expected]


def test_there_is_an_end_to_the_pages_and_it_says_where_the_rest_is(
    boss: Client, story: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE", 5)
    monkeypatch.setattr(pages, "LAST_PAGE", 2)

    page = open_page(boss, story, page=99)

    assert [page.context["first"], page.context["last"]] == [6, 10]
    assert "There is more than a page should show." in text(page)
    assert "Next entries" not in text(page)


@pytest.mark.parametrize("number", ["0", "-1", "x", "", "9" * 50, "²"])
def test_a_page_number_that_is_none_is_the_first_page(boss: Client, number: str) -> None:
    saga = running_saga()

    page = open_page(boss, saga.key, page=number)

    assert page.status_code == 200
    assert page.context["first"] == 1


def test_an_unknown_order_has_no_page(boss: Client) -> None:
    assert open_page(boss, uuid7()).status_code == 404


def test_what_belongs_to_no_order_has_its_story_too(boss: Client) -> None:
    case = refused_event()

    page = text(open_page(boss, case.key))

    assert "No order has this id." in page
    assert "event order.confirmed" in page
    assert f"Case {case.pk}" in page


def test_webhooks_are_told_parked_ones_too(boss: Client) -> None:
    saga = running_saga()
    WebhookEvent.objects.create(
        gateway="simulated",
        event_id="evt_1",
        type="charged",
        key="k",
        order_id=str(saga.key),
        amount=1250,
        currency="EUR",
        payload={"id": "evt_1", "email": "ada@example.org"},
        status="parked",
    )

    page = text(open_page(boss, saga.key))

    assert "webhook received: charged" in page
    assert "status: parked" in page
    assert "ada@example.org" not in page


def test_who_may_not_see_something_is_told_that_it_is_left_out(client: Client, story: UUID) -> None:
    user = User.objects.create(username="viewer", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_order", "view_message"]))
    client.force_login(user)

    page = open_page(client, story)

    assert {line.kind for line in page.context["lines"]} == {"orders", "message"}
    assert "Left out, since you may not see it: Goods, Money, Parcels, E-mails, Gateway calls" in text(page)
    assert "bank refund" not in text(page)
    assert "<svg" not in page.content.decode()
    assert "Download the evidence" not in text(page)


def test_without_permission_the_page_stays_closed(client: Client) -> None:
    saga = running_saga()
    client.force_login(User.objects.create(username="nobody", is_staff=True))

    assert open_page(client, saga.key).status_code == 403


def test_a_stranger_is_sent_to_the_door(client: Client) -> None:
    assert open_page(client, uuid7()).status_code == 302


def test_traces_are_linked_where_there_is_a_place_for_them(boss: Client, story: UUID, settings: Settings) -> None:
    settings.TRACE_URL = "https://traces.test/t/{trace_id}?a=1"

    content = open_page(boss, story).content.decode()

    assert content.count(f'href="https://traces.test/t/{TRACE}?a=1"') > 10


def test_the_saga_is_drawn_and_told_in_words(boss: Client, story: UUID) -> None:
    content = open_page(boss, story).content.decode()

    assert content.count("<svg") == 2
    assert "undo charge-payment (payment.refund): stuck: needs a person" in content
    assert "create-shipment (shipment.create): failed" in content


def test_the_page_of_the_saga_has_the_same_diagram(boss: Client, story: UUID) -> None:
    saga = SagaInstance.objects.get(key=story)

    content = boss.get(reverse("admin:sagas_sagainstance_change", args=[saga.pk])).content.decode()

    assert content.count('class="desk-saga desk-saga-lying"') == 1
    assert reverse("desk:order", args=[story]) in content


@pytest.mark.parametrize(
    "name",
    ["orders_order", "payments_payment", "shipping_shipment", "outbox_message", "outbox_attempt", "outbox_gatewaycall"],
)
def test_every_list_leads_to_the_orders_page(boss: Client, story: UUID, name: str) -> None:
    content = boss.get(reverse(f"admin:{name}_changelist")).content.decode()

    assert reverse("desk:order", args=[story]) in content


def test_markup_in_an_error_is_shown_as_text(boss: Client) -> None:
    saga = running_saga()
    markup = "<script>alert(1)</script>"
    steps = SagaInstance.objects.get().steps
    steps["reserve-inventory"]["error"] = markup
    SagaInstance.objects.update(steps=steps)
    Delivery.objects.filter(ordering_key=saga.key).update(error=markup, error_class=markup)

    content = open_page(boss, saga.key).content.decode()

    assert markup not in content
    assert "&lt;script&gt;alert(1)" in content


def test_a_customer_is_not_told_what_people_arranged_between_themselves(story: UUID) -> None:
    for_customer = timeline(story, is_for_customer=True)
    for_operators = timeline(story)

    assert [entry["what"] for entry in for_customer["entries"] if entry["kind"] == "operator"] == ["retry"]
    assert [entry["what"] for entry in for_operators["entries"] if entry["kind"] == "operator"] == ["note", "retry"]
    assert NOTE not in str(for_customer)
    assert "call" not in {entry["kind"] for entry in for_customer["entries"]}


def test_the_api_tells_the_customer_no_more_than_before() -> None:
    buyer, order_id = troubled_order()
    case = worked_on(order_id)
    Case.objects.filter(pk=case.pk).update(owner="olga", claimed_at=Now())

    told = buyer.get(f"orders/{order_id}/timeline").json()

    assert {entry["kind"] for entry in told["entries"]} == {"command", "event", "attempt", "operator", "case"}
    assert {entry["owner"] for entry in told["entries"] if entry["kind"] == "case"} == {"on-call"}
    assert NOTE not in str(told)
