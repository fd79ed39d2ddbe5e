"""The OpenAPI document is valid, complete, and what the API really answers."""

import json
from typing import Any

import pytest
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from tests.factories.orders import Customer, checkout, customer, many_placed, placed, price

KEY = "8e03978e-40d5-43e8-bc93-6894a57f9324"
PROMISED = {
    ("get", "/api/v1/orders"): {"200", "401", "422", "429", "503"},
    ("post", "/api/v1/orders"): {"201", "202", "400", "401", "409", "413", "415", "422", "429", "503"},
    ("get", "/api/v1/orders/{order_id}"): {"200", "401", "404", "422", "429", "503"},
    ("post", "/api/v1/orders/{order_id}/cancel"): {"202", "400", "401", "404", "409", "422", "429", "503"},
    ("post", "/api/v1/orders/{order_id}/returns"): {"202", "400", "401", "404", "409", "422", "429", "503"},
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """Return the OpenAPI document as a client reads it."""
    schema = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    read: dict[str, Any] = json.loads(json.dumps(schema))
    return read


@pytest.fixture
def ada() -> Customer:
    """Return a customer, with something on the price list."""
    price("MUG", 1250)
    return customer()


def assert_as_documented(document: dict[str, Any], response: Any, method: str, path: str) -> None:
    """Check status, media type and body of an answer against the document."""
    documented = document["paths"][path][method]["responses"][str(response.status_code)]
    media_type = response.headers["Content-Type"].split(";")[0]
    schema = {**documented["content"][media_type]["schema"], "components": document["components"]}
    Draft202012Validator(schema).validate(_without_null(response.json()))


def _without_null(value: Any) -> Any:
    """Leave out what is null: OpenAPI 3.0 says `nullable`, which JSON Schema does not know."""
    return {name: inner for name, inner in value.items() if inner is not None}


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    validate_schema(document)  # type: ignore[no-untyped-call]


def test_every_call_and_every_answer_is_in_it(document: dict[str, Any]) -> None:
    found = {call: set(document["paths"][call[1]][call[0]]["responses"]) for call in PROMISED}

    assert found == PROMISED


@pytest.mark.parametrize("call", [call for call in PROMISED if call[0] == "post"])
def test_every_change_asks_for_a_key(document: dict[str, Any], call: tuple[str, str]) -> None:
    parameters = {one["name"]: one for one in document["paths"][call[1]][call[0]]["parameters"]}

    assert parameters["Idempotency-Key"]["in"] == "header"
    assert parameters["Idempotency-Key"]["required"] is True


def test_every_call_asks_for_a_token(document: dict[str, Any]) -> None:
    assert all(document["paths"][path][method]["security"] == [{"tokenAuth": []}] for method, path in PROMISED)


def test_every_problem_has_the_one_shape(document: dict[str, Any]) -> None:
    for method, path in PROMISED:
        for status, answer in document["paths"][path][method]["responses"].items():
            problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
            assert int(status) < 400 or answer["content"] == {"application/problem+json": problem}


@pytest.mark.django_db
def test_checkout_answers_as_documented(document: dict[str, Any], ada: Customer) -> None:
    post = "post", "/api/v1/orders"

    assert_as_documented(document, ada.post("orders", checkout(("MUG", 1)), key=KEY), *post)
    assert_as_documented(document, ada.post("orders", checkout(("MUG", 1)), key=KEY), *post)
    assert_as_documented(document, ada.post("orders", checkout(("MUG", 2)), key=KEY), *post)
    assert_as_documented(document, ada.post("orders", checkout(("MUG", 1))), *post)
    assert_as_documented(document, ada.post("orders", checkout(("MUG", 0))), *post)
    assert_as_documented(document, ada.post("orders", "{", key=KEY), *post)
    assert_as_documented(document, ada.post("orders", checkout(("MUG", 1)), key="a,b"), *post)
    assert_as_documented(document, ada.post("orders", "x" * 70_000), *post)


@pytest.mark.django_db
def test_reading_answers_as_documented(document: dict[str, Any], ada: Customer) -> None:
    orders = many_placed(3, customer_id=ada.id)
    one = "get", "/api/v1/orders/{order_id}"
    many = "get", "/api/v1/orders"

    assert_as_documented(document, ada.get(f"orders/{orders[0].id}"), *one)
    assert_as_documented(document, ada.get(f"orders/{KEY}"), *one)
    assert_as_documented(document, ada.get("orders?page_size=2"), *many)
    assert_as_documented(document, ada.get("orders?status=LOST"), *many)
    assert_as_documented(document, ada.new_client().get("/api/v1/orders", headers={"Authorization": "x"}), *many)


@pytest.mark.django_db
@pytest.mark.parametrize("call", ["cancel", "returns"])
@pytest.mark.parametrize("status", ["PENDING", "CONFIRMED"])
def test_changing_answers_as_documented(document: dict[str, Any], ada: Customer, call: str, status: str) -> None:
    order = placed(("MUG", 1), customer_id=ada.id, status=status)
    path = f"/api/v1/orders/{{order_id}}/{call}"

    assert_as_documented(document, ada.post(f"orders/{order.id}/{call}"), "post", path)
    assert_as_documented(document, ada.post(f"orders/{KEY}/{call}"), "post", path)
    assert_as_documented(document, ada.post(f"orders/{order.id}/{call}", {"a": 1}), "post", path)
