"""Checkout over HTTP: what goes in, what comes out, and whose it is."""

import json
import re
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from orders.models import Order
from outbox.models import Message
from tests.factories.orders import ADDRESS, Customer, checkout, customer, many_placed, placed, price, told
from tests.factories.problems import assert_problem, errors_of

pytestmark = pytest.mark.django_db

NOBODYS = "01a20d86-b4d8-765b-8be0-e951d55da303"
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def ada() -> Customer:
    """Return a customer, with something on the price list."""
    price("MUG", 1250)
    price("PEN", 99)
    return customer()


def test_an_accepted_order_looks_like_this(ada: Customer) -> None:
    response = ada.post("orders", checkout(("MUG", 2), ("PEN", 1)))

    assert response.status_code == 202
    order = response.json()
    address = f"/api/v1/orders/{order['id']}"
    assert response.headers["Location"] == address
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", order["created_at"])
    assert order == {
        "id": str(UUID(order["id"])),
        "status": "PENDING",
        "reason": "",
        "total": {"amount": "25.99", "currency": "EUR"},
        "items": [
            {
                "sku": "MUG",
                "name": "The MUG",
                "quantity": 2,
                "unit_price": {"amount": "12.50", "currency": "EUR"},
            },
            {
                "sku": "PEN",
                "name": "The PEN",
                "quantity": 1,
                "unit_price": {"amount": "0.99", "currency": "EUR"},
            },
        ],
        "payment_method": "pm_card_visa",
        "shipping_address": ADDRESS,
        "created_at": order["created_at"],
        "updated_at": order["created_at"],
        "links": {
            "self": address,
            "timeline": f"{address}/timeline",
            "cancel": f"{address}/cancel",
            "returns": f"{address}/returns",
        },
    }


def test_an_order_reads_as_it_was_accepted(ada: Customer) -> None:
    accepted = ada.post("orders", checkout(("MUG", 2), ("PEN", 1)))

    response = ada.get(f"orders/{accepted.json()['id']}")

    assert response.status_code == 200
    assert response.json() == accepted.json()


def test_a_checkout_costs_nine_statements(ada: Customer) -> None:
    ada.post("orders", checkout(("PEN", 1)))

    with CaptureQueriesContext(connection) as queries:
        ada.post("orders", checkout(("MUG", 2), ("PEN", 1)))

    # Token, savepoint (a transaction in production), lock, kept answer, prices, order, messages, key,
    # release.
    assert len(queries) == 9


def test_the_trace_of_the_request_goes_with_the_message(ada: Customer) -> None:
    traced = ada.post("orders", checkout(("MUG", 1)), headers={"traceparent": TRACEPARENT})
    untraced = ada.post("orders", checkout(("MUG", 2)), headers={"traceparent": "nonsense"})

    headers = {message.ordering_key: message.headers for message in Message.objects.filter(type="order.created")}
    assert headers[UUID(traced.json()["id"])] == {"traceparent": TRACEPARENT}
    assert headers[UUID(untraced.json()["id"])] == {}


@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        ({"items": []}, [("#/items", "empty")]),
        ({"items": "MUG"}, [("#/items", "not_a_list")]),
        ({"items": [{"sku": "MUG"}]}, [("#/items/0/quantity", "required")]),
        ({"items": [{"sku": "MUG", "quantity": 0}]}, [("#/items/0/quantity", "min_value")]),
        ({"items": [{"sku": "MUG", "quantity": 10_001}]}, [("#/items/0/quantity", "max_value")]),
        ({"items": [{"sku": "MUG", "quantity": "x"}]}, [("#/items/0/quantity", "invalid")]),
        ({"items": [{"sku": "MUG", "quantity": 1, "price": 1}]}, [("#/items/0/price", "unknown_field")]),
        ({"items": [{"sku": "MUG", "quantity": 1}] * 2}, [("#/items/1/sku", "repeated_sku")]),
        ({"items": [{"sku": f"S{n}", "quantity": 1} for n in range(101)]}, [("#/items", "max_length")]),
        ({"items": [{"sku": "NONE", "quantity": 1}]}, [("#/items/0/sku", "unknown_sku")]),
        (
            {"items": [{"sku": "MUG", "quantity": 1}, {"sku": "DOLLAR", "quantity": 1}]},
            [("#/items", "mixed_currencies")],
        ),
        ({"items": [{"sku": "M\x00G", "quantity": 1}]}, [("#/items/0/sku", "null_characters_not_allowed")]),
        ({"amount": 1}, [("#/amount", "unknown_field")]),
        ({"customer_id": 8}, [("#/customer_id", "unknown_field")]),
        ({"payment_method": ""}, [("#/payment_method", "blank")]),
        ({"payment_method": None}, [("#/payment_method", "null")]),
        (
            {"shipping_address": {**ADDRESS, "country": "Germany"}},
            [("#/shipping_address/country", "invalid")],
        ),
        ({"shipping_address": {**ADDRESS, "phone": "1"}}, [("#/shipping_address/phone", "unknown_field")]),
        ({"shipping_address": "Berlin"}, [("#/shipping_address", "invalid")]),
        (
            {"shipping_address": {"name": "Ada", "line1": "x", "city": "y"}},
            [("#/shipping_address/postal_code", "required"), ("#/shipping_address/country", "required")],
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place(
    ada: Customer, changes: dict[str, Any], errors: list[tuple[str, str]]
) -> None:
    price("DOLLAR", currency="USD")

    response = ada.post("orders", checkout(("MUG", 1), **changes))

    assert sorted(errors_of(response)) == sorted(errors)
    assert Order.objects.count() == 0


@pytest.mark.parametrize("body", [[], "text", 1, None, [1, 2]])
def test_a_body_that_is_no_object_is_refused(ada: Customer, body: object) -> None:
    response = ada.post("orders", json.dumps(body))

    assert_problem(response, 422, "validation-failed")


@pytest.mark.parametrize("body", [b"", b"{", b"{'a'}", b'"\xff"', b"[" * 20_000])
def test_a_body_that_is_not_json_is_refused(ada: Customer, body: bytes) -> None:
    response = ada.post("orders", body)

    assert response.status_code in (400, 422)
    assert response.json()["code"] in ("invalid-body", "validation-failed")
    assert Order.objects.count() == 0


def test_another_media_type_is_refused(ada: Customer) -> None:
    response = ada.client.post(
        "/api/v1/orders", "sku=MUG", content_type="text/plain", headers={"Idempotency-Key": "key"}
    )

    assert_problem(response, 415, "unsupported-media-type")


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"payment_method": "4242 4242 4242 4242"}, "#/payment_method"),
        ({"payment_method": 4242424242424242}, "#/payment_method"),
        ({"shipping_address": {**ADDRESS, "line1": "4242-4242-4242-4242"}}, "#/shipping_address/line1"),
        ({"note": {"card": "4242424242424242"}}, "#/note/card"),
        ({"4242424242424242": 1}, "#"),
    ],
)
def test_card_numbers_are_refused_and_never_repeated(
    ada: Customer, caplog: pytest.LogCaptureFixture, changes: dict[str, Any], pointer: str
) -> None:
    response = ada.post("orders", checkout(("MUG", 1), **changes))

    assert errors_of(response) == [(pointer, "card_number")]
    assert b"4242" not in response.content
    assert "4242" not in caplog.text


def test_an_unknown_sku_that_looks_like_a_card_number_is_not_repeated(
    ada: Customer, caplog: pytest.LogCaptureFixture
) -> None:
    response = ada.post("orders", checkout(("4242424242424242", 1)))

    assert errors_of(response) == [("#/items/0/sku", "unknown_sku")]
    assert b"4242" not in response.content
    assert "4242" not in caplog.text


def test_a_duplicate_names_the_first_order(ada: Customer) -> None:
    first = ada.post("orders", checkout(("MUG", 1), ("PEN", 2)))

    second = ada.post("orders", checkout(("PEN", 2), ("MUG", 1)))

    problem = assert_problem(second, 409, "duplicate-order")
    assert problem["order"] == {"id": first.json()["id"], "url": first.headers["Location"]}
    assert Order.objects.count() == 1


@pytest.mark.parametrize("path", ["orders", f"orders/{NOBODYS}", f"orders/{NOBODYS}/timeline"])
@pytest.mark.parametrize("authorization", [None, "Token wrong", "Token", "Token a b", "Bearer x", "Token \xe9"])
def test_without_a_token_nothing_is_shown(ada: Customer, path: str, authorization: str | None) -> None:
    client = ada.new_client()
    client.defaults.pop("HTTP_AUTHORIZATION")
    headers = {"Authorization": authorization} if authorization else {}

    response = client.get(f"/api/v1/{path}", headers=headers)

    assert_problem(response, 401, "not-authenticated")
    assert response.headers["WWW-Authenticate"] == "Token"


def test_an_inactive_customer_is_nobody(ada: Customer) -> None:
    ada.user.is_active = False
    ada.user.save()

    assert_problem(ada.get("orders"), 401, "not-authenticated")


def test_another_customers_order_does_not_exist(ada: Customer) -> None:
    order = placed(("MUG", 1), customer_id=customer().id)

    assert_problem(ada.get(f"orders/{order.id}"), 404, "not-found")
    assert_problem(ada.post(f"orders/{order.id}/cancel"), 404, "not-found")
    assert_problem(ada.post(f"orders/{order.id}/returns"), 404, "not-found")
    order.refresh_from_db()
    assert order.status == "PENDING"


@pytest.mark.parametrize("path", ["orders/1", "orders/", "nothing", f"orders/{NOBODYS}"])
def test_what_does_not_exist_is_a_problem_too(ada: Customer, path: str) -> None:
    assert_problem(ada.get(path), 404, "not-found")


def test_a_method_that_is_not_there_is_refused(ada: Customer) -> None:
    response = ada.client.delete("/api/v1/orders")

    assert_problem(response, 405, "method-not-allowed")
    assert response.headers["Allow"] == "GET, POST, HEAD, OPTIONS"


def test_a_pending_order_is_cancelled(ada: Customer) -> None:
    order = placed(("MUG", 1), customer_id=ada.id)

    response = ada.post(f"orders/{order.id}/cancel")

    assert response.status_code == 202
    assert (response.json()["status"], response.json()["reason"]) == ("CANCELLING", "cancelled_by_customer")
    assert told(order.id) == ["order.created", "order.cancel_requested"]


def test_a_confirmed_order_cannot_be_cancelled_but_returned(ada: Customer) -> None:
    order = placed(("MUG", 1), customer_id=ada.id, status="CONFIRMED")

    refused = ada.post(f"orders/{order.id}/cancel")

    problem = assert_problem(refused, 409, "not-cancellable")
    assert problem["order_status"] == "CONFIRMED"
    assert problem["links"] == {"returns": f"/api/v1/orders/{order.id}/returns"}
    accepted = ada.client.post(
        problem["links"]["returns"], headers={"Idempotency-Key": "r"}, content_type="application/json"
    )
    assert accepted.status_code == 202
    assert accepted.json()["status"] == "RETURNING"
    assert told(order.id) == ["order.created", "order.return_requested"]


def test_a_pending_order_cannot_be_returned(ada: Customer) -> None:
    order = placed(("MUG", 1), customer_id=ada.id)

    problem = assert_problem(ada.post(f"orders/{order.id}/returns"), 409, "not-returnable")

    assert problem["order_status"] == "PENDING"


@pytest.mark.parametrize("call", ["cancel", "returns"])
def test_a_change_takes_no_fields(ada: Customer, call: str) -> None:
    order = placed(("MUG", 1), customer_id=ada.id)

    response = ada.post(f"orders/{order.id}/{call}", {"reason": "x"})

    assert errors_of(response) == [("#/reason", "unknown_field")]


def test_the_list_shows_the_customers_own_orders_newest_first(ada: Customer) -> None:
    mine = many_placed(3, customer_id=ada.id)
    many_placed(1, customer_id=customer().id)

    response = ada.get("orders")

    assert response.status_code == 200
    page = response.json()
    assert (page["next"], page["previous"]) == (None, None)
    assert [order["id"] for order in page["results"]] == [str(order.id) for order in reversed(mine)]
    assert page["results"][0] == ada.get(f"orders/{mine[-1].id}").json()


def test_pages_follow_each_other_while_orders_are_added(ada: Customer) -> None:
    mine = [str(order.id) for order in many_placed(5, customer_id=ada.id)]

    first = ada.get("orders?page_size=2").json()
    placed(("MUG", 1), customer_id=ada.id)
    second = ada.client.get(first["next"]).json()
    third = ada.client.get(second["next"]).json()

    pages = [[order["id"] for order in page["results"]] for page in (first, second, third)]
    assert pages == [[mine[4], mine[3]], [mine[2], mine[1]], [mine[0]]]
    assert third["next"] is None


def test_a_page_has_at_most_a_hundred_orders(ada: Customer) -> None:
    many_placed(101, customer_id=ada.id)

    assert len(ada.get("orders?page_size=1000").json()["results"]) == 100
    assert len(ada.get("orders").json()["results"]) == 20


@pytest.mark.parametrize("path", ["orders", "products"])
@pytest.mark.parametrize("size", ["0", "-1", "x", "", "1.5", "1e2", "9" * 5000, "\N{SUPERSCRIPT TWO}", "\x00"])
def test_a_page_size_that_cannot_be_is_refused(ada: Customer, path: str, size: str) -> None:
    response = ada.client.get(f"/api/v1/{path}", {"page_size": size})

    assert errors_of(response) == [("#/page_size", "invalid")]


def test_the_list_costs_the_same_for_one_order_and_for_many(ada: Customer) -> None:
    counts = []
    for number in (1, 20):
        many_placed(number, customer_id=(someone := customer()).id)
        with CaptureQueriesContext(connection) as queries:
            assert len(someone.get("orders").json()["results"]) == number
        counts.append(len(queries))

    assert counts == [3, 3]


def test_the_list_is_filtered_by_status(ada: Customer) -> None:
    many_placed(1, customer_id=ada.id)
    confirmed = placed(("MUG", 1), customer_id=ada.id, status="CONFIRMED")

    page = ada.get("orders?status=CONFIRMED").json()

    assert [order["id"] for order in page["results"]] == [str(confirmed.id)]
    assert ada.get("orders?status=RETURNED").json()["results"] == []


def test_an_unknown_status_is_refused(ada: Customer) -> None:
    assert errors_of(ada.get("orders?status=LOST")) == [("#/status", "unknown_status")]


@pytest.mark.parametrize("cursor", ["zzz", "cD14", "%00", "bz0x", "cD0lMDA=", "cD0wMWEyMGQ4Ng=="])
def test_a_foreign_cursor_is_refused_or_harmless(ada: Customer, cursor: str) -> None:
    many_placed(1, customer_id=ada.id)

    response = ada.get(f"orders?cursor={cursor}")

    assert response.status_code in (200, 422)
