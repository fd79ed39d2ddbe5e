"""The list of cases: the most urgent open ones first, found by whatever is in hand, narrowed by filters."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from desk import paging
from orders.models import Order
from payments.models import Payment, Refund
from sagas import cases, services
from sagas.models import Case
from tests.factories.cases import REFUSAL, refused_event, refused_refund
from tests.factories.orders import placed, price
from tests.factories.people import approved_by, colleague

pytestmark = pytest.mark.django_db


@pytest.fixture
def client() -> Client:
    """Sign somebody in who may look at cases, and no more."""
    client = Client()
    client.force_login(colleague("olga", "view_case"))
    return client


def page(client: Client, **query: object) -> str:
    url = reverse("admin:sagas_case_changelist")
    answer = client.get(url, {name: str(value) for name, value in query.items()})
    assert answer.status_code == 200
    return str(answer.content.decode())


def listed(client: Client, **query: object) -> list[int]:
    return [int(number) for number in re.findall(r">#(\d+)<", page(client, **query))]


def text(content: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", content))


def change(case: Case, **fields: Any) -> Case:
    Case.objects.filter(pk=case.pk).update(**fields)
    return case


def closed_case() -> Case:
    case = refused_event()
    services.close_message_case(case_id=case.pk, operator="grace", action="resolve", reason="r", reference="T-1")
    return case


def test_open_cases_are_listed_the_most_urgent_first(client: Client) -> None:
    closed_case()
    later, overdue = refused_refund(), refused_event()
    change(overdue, due_at=timezone.now() - timedelta(hours=2))

    content = page(client)

    assert [int(number) for number in re.findall(r">#(\d+)<", content)] == [overdue.pk, later.pk]
    assert "overdue KeyError in the mail to customers (notifications)" in text(content)


def test_closed_cases_are_listed_the_last_first(client: Client) -> None:
    first, second = closed_case(), closed_case()
    change(first, closed_at=timezone.now() - timedelta(hours=1))
    refused_refund()

    assert listed(client, status__exact="CLOSED") == [second.pk, first.pk]


def test_all_cases_are_listed_with_open_ones_on_top(client: Client) -> None:
    closed, opened = closed_case(), refused_refund()

    assert listed(client, status__exact="all") == [opened.pk, closed.pk]


def test_a_line_says_what_where_how_much_until_when_and_who(client: Client) -> None:
    case = refused_refund()
    cases.claim(case_id=case.pk, operator="ada")

    content = text(page(client))

    assert "The bank refuses to give the money back, undoing charge-payment" in content
    assert "charge-payment (compensation) RefundRefused: " + REFUSAL in content
    assert "12.50 EUR" in content
    assert re.search(r"in 3 h 59 min open for [\d.]+\s*m?s ada", content.replace("\N{NO-BREAK SPACE}", " "))


def test_a_case_without_an_owner_says_so(client: Client) -> None:
    refused_refund()

    assert "nobody yet" in text(page(client))


# --- search ---


def order_of(customer: User) -> Order:
    price("MUG")
    return placed(("MUG", 1), customer_id=customer.pk)


@pytest.mark.parametrize("name", ["key", "saga_id", "message_id"])
def test_a_case_is_found_by_any_of_its_ids(client: Client, name: str) -> None:
    case, _ = refused_refund(), refused_refund()

    assert listed(client, q=getattr(case, name)) == [case.pk]


@pytest.mark.parametrize("mark", ["", "#"])
def test_a_case_is_found_by_its_number(client: Client, mark: str) -> None:
    case, _ = refused_refund(), refused_refund()

    assert listed(client, q=f"{mark}{case.pk}") == [case.pk]


def test_cases_are_found_by_the_customer(client: Client) -> None:
    customer = User.objects.create(username="grace")
    order = order_of(customer)
    case = change(refused_refund(), key=order.id)
    refused_refund()

    assert listed(client, q="grace") == [case.pk]


def test_the_beginning_of_a_customers_name_finds_nobody(client: Client) -> None:
    customer = User.objects.create(username="grace")
    change(refused_refund(), key=order_of(customer).id)

    assert listed(client, q="grac") == []


def charged(order_id: UUID, **fields: Any) -> Payment:
    known = {"key": f"{order_id}-s-charge-payment", "status": "charged", "reference": "ch_77"} | fields
    return Payment.objects.create(order_id=order_id, amount=1250, currency="EUR", gateway="bank", **known)


@pytest.mark.parametrize("reference", ["ch_77", "re_77", "key of the charge", "key of the refund"])
def test_cases_are_found_by_what_the_gateway_calls_it(client: Client, reference: str) -> None:
    case = refused_refund()
    payment = charged(case.key, key="key of the charge", status="refunded")
    refused_refund()
    Refund.objects.create(
        key="key of the refund", payment=payment, order_id=case.key, amount=1250, currency="EUR", reference="re_77"
    )

    assert listed(client, q=reference) == [case.pk]


@pytest.mark.parametrize("words", ["refuses refund", "REFUND_REFUSED", "charge refus", "RefundRefused"])
def test_cases_are_found_by_words_of_the_error(client: Client, words: str) -> None:
    case, _ = refused_refund(), refused_event()

    assert listed(client, q=words) == [case.pk]


@pytest.mark.parametrize("term", ["refuses nonsense", "%", "' OR 1=1 --", "\\", "&|!():*<->", "0" * 40, "9" * 40])
def test_what_nothing_matches_finds_nothing(client: Client, term: str) -> None:
    refused_refund()

    assert listed(client, q=term) == []


def test_a_search_looks_at_closed_cases_too(client: Client) -> None:
    closed = closed_case()

    assert listed(client, q=closed.key) == [closed.pk]
    assert listed(client, q=closed.key, status__exact="OPEN") == []


# --- filters ---


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ({"due": "overdue"}, {"due_at": timedelta(minutes=-1)}),
        ({"due": "hour"}, {"due_at": timedelta(minutes=30)}),
        ({"owner_is": "somebody"}, {"owner": "ada", "claimed_at": timedelta()}),
        ({"owner_is": "me"}, {"owner": "olga", "claimed_at": timedelta()}),
        ({"step": "create-shipment"}, {"step": "create-shipment"}),
        ({"direction": "action"}, {"direction": "action"}),
        ({"error_class": "NothingDone"}, {"error_class": "NothingDone"}),
        ({"fingerprint": "abc"}, {"fingerprint": "abc"}),
        ({"age": "1h"}, {"opened_at": timedelta(minutes=-61)}),
        ({"age": "4h"}, {"opened_at": timedelta(hours=-5)}),
        ({"age": "1d"}, {"opened_at": timedelta(hours=-25)}),
        ({"age": "7d"}, {"opened_at": timedelta(days=-8)}),
        ({"amount_from": "20"}, {"amount": 2_000}),
        ({"amount_from": "19.99", "amount_to": "20.00"}, {"amount": 2_000}),
        ({"amount_to": "1"}, {"amount": 100}),
        ({"amount_from": "1999"}, {"amount": 2_000, "currency": "JPY"}),
        ({"amount_from": "1.5", "amount_to": "2.5"}, {"amount": 2_000, "currency": "KWD"}),
    ],
)
def test_a_filter_leaves_what_fits(client: Client, query: dict[str, str], fields: dict[str, Any]) -> None:
    now = timezone.now()
    moved = {name: now + value if isinstance(value, timedelta) else value for name, value in fields.items()}
    fitting, _ = change(refused_refund(), **moved), refused_refund()

    assert listed(client, **query) == [fitting.pk]


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ({"due": "later"}, {"due_at": timedelta()}),
        ({"owner_is": "nobody"}, {"owner": "ada", "claimed_at": timedelta()}),
        ({"owner_is": "me"}, {"owner": "ada", "claimed_at": timedelta()}),
        ({"owner_is": "me"}, {"owner": "olga", "claimed_at": None}),
        ({"age": "new"}, {"opened_at": timedelta(hours=-2)}),
        ({"direction": "compensation"}, {"direction": "action"}),
        ({"amount_to": "20"}, {"amount": None}),
        ({"amount_to": "100"}, {"amount": 1_250, "currency": "JPY"}),
    ],
)
def test_a_filter_leaves_out_what_does_not_fit(client: Client, query: dict[str, str], fields: dict[str, Any]) -> None:
    now = timezone.now()
    moved = {name: now + value if isinstance(value, timedelta) else value for name, value in fields.items()}
    change(refused_refund(), **moved)

    assert listed(client, **query) == []


@pytest.mark.parametrize(
    "query",
    [
        {"due": "x"},
        {"owner_is": "x"},
        {"age": "x"},
        {"status__exact": "x"},
        {"amount_from": "ten"},
        {"amount_from": "1e999999999"},
        {"amount_to": "NaN"},
    ],
)
def test_a_choice_that_is_none_leaves_nothing(client: Client, query: dict[str, str]) -> None:
    refused_refund()

    assert listed(client, **query) == []


def test_cases_are_picked_by_how_they_ended(client: Client) -> None:
    resolved, abandoned = closed_case(), refused_refund()
    services.abandon(saga_id=abandoned.saga_id or abandoned.key, operator="grace", reason="r")
    approved_by("ada")

    assert listed(client, resolution="resolved") == [resolved.pk]
    assert listed(client, resolution="abandoned") == [abandoned.pk]


def test_the_error_classes_to_choose_from_are_those_that_there_are(client: Client) -> None:
    refused_refund(), refused_refund(), refused_event()

    options = re.findall(r'<option value="(\w+)"[^>]*>\s*\1', page(client))

    assert {"KeyError", "RefundRefused"} == {option for option in options if option[0].isupper() and option != "OPEN"}


def test_no_filter_reads_all_cases_for_its_choices(client: Client) -> None:
    refused_refund()

    with CaptureQueriesContext(connection) as queries:
        page(client)

    assert [query["sql"] for query in queries if "DISTINCT" in query["sql"].upper()] == []


def test_nobody_can_ask_for_a_count_beside_each_choice(client: Client) -> None:
    refused_refund()
    page(client)
    with CaptureQueriesContext(connection) as plain:
        page(client)

    with CaptureQueriesContext(connection) as queries:
        content = page(client, _facets="True")

    assert len(queries) == len(plain)
    assert "Show counts" not in content


def test_a_list_takes_as_many_statements_for_one_case_as_for_ten(client: Client) -> None:
    refused_refund()
    page(client)
    with CaptureQueriesContext(connection) as for_one:
        page(client)
    for _ in range(9):
        refused_refund()

    with CaptureQueriesContext(connection) as for_ten:
        page(client)

    assert len(for_ten) == len(for_one)


def test_the_counting_stops_where_nobody_reads_on(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "FURTHEST", 2)
    for _ in range(3):
        refused_refund()

    content = text(page(client))

    assert "2 results" in content
    assert "More than 2 match: only the first 2 are shown." in content


def test_what_can_be_counted_is_not_said_to_go_on(client: Client) -> None:
    refused_refund()

    assert "More than" not in text(page(client))


def test_who_may_not_look_sees_no_list() -> None:
    client = Client()
    client.force_login(colleague("olga", "retry_case"))

    assert client.get(reverse("admin:sagas_case_changelist")).status_code == 403
