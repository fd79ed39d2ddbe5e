"""Whatever is sent, the API answers with a status that it promises, and never with a 5xx."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.factories.orders import ADDRESS, Customer, checkout, customer, price

PROMISED = {200, 202, 400, 401, 404, 405, 409, 411, 413, 415, 422}

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
items = st.lists(
    st.fixed_dictionaries({"sku": st.sampled_from(["MUG", "NONE"]) | values, "quantity": st.integers() | values})
    | values
)
bodies = (
    st.fixed_dictionaries(
        {
            "items": items | values,
            "payment_method": st.text() | values,
            "shipping_address": st.fixed_dictionaries({name: st.text() | values for name in ADDRESS}) | values,
        },
        optional={"other": values},
    )
    | values
)
# What a header can carry: no line breaks, as the server in front refuses them.
headers = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=300)

pytestmark = pytest.mark.django_db
fuzzed = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def ada() -> Customer:
    """Return a customer, with something on the price list."""
    price("MUG", 1250)
    return customer()


def assert_promised(response: Any) -> None:
    """Check the status, and that what is refused is a problem."""
    assert response.status_code in PROMISED
    is_problem = response.headers["Content-Type"] == "application/problem+json"
    assert is_problem == (response.status_code >= 400)


@fuzzed
@given(body=bodies)
def test_any_json(ada: Customer, body: Any) -> None:
    assert_promised(ada.post("orders", json.dumps(body)))


@fuzzed
@given(body=st.binary(max_size=200))
def test_any_bytes(ada: Customer, body: bytes) -> None:
    assert_promised(ada.post("orders", body))


@fuzzed
@given(key=headers, prefer=headers, trace=headers)
def test_any_header(ada: Customer, key: str, prefer: str, trace: str) -> None:
    sent = {"Idempotency-Key": key, "Prefer": f"{prefer}, wait=0", "traceparent": trace, "Accept": prefer}

    response = ada.post("orders", checkout(("MUG", 1)), headers=sent)

    assert response.status_code in PROMISED | {406}


@fuzzed
@given(token=headers)
def test_any_token(ada: Customer, token: str) -> None:
    response = ada.client.get("/api/v1/orders", headers={"Authorization": f"Token {token}"})

    assert response.status_code == 401


@fuzzed
@given(query=st.dictionaries(st.sampled_from(["cursor", "page_size", "status", "other"]), st.text()))
def test_any_query(ada: Customer, query: dict[str, str]) -> None:
    assert_promised(ada.client.get("/api/v1/orders", query))


@fuzzed
@given(path=st.text(max_size=80), call=st.sampled_from(["get", "post", "put", "delete", "patch", "options"]))
def test_any_path(ada: Customer, path: str, call: str) -> None:
    response = getattr(ada.client, call)(f"/api/v1/orders/{path}", headers={"Idempotency-Key": "k"})

    assert response.status_code in PROMISED
