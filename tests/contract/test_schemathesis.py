"""The whole API under generated requests: no 5xx, and every answer is one that the OpenAPI document promises.

Schemathesis makes the requests from the document itself, valid and invalid ones, with a token and without. Some are
led to where they matter: to an order that exists, to a SKU that is sold.
SCHEMATHESIS_CASES sets their number.
"""

from __future__ import annotations

import os
import random
import string
from collections import Counter
from collections.abc import Iterator
from itertools import count, product
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from hypothesis import HealthCheck, given, seed, settings
from schemathesis import Case, GenerationMode
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi import checks

from config.wsgi import application
from orders.models import Order
from tests.factories.orders import ADDRESS, Customer, customer, many_placed, placed, price

CASES = int(os.environ.get("SCHEMATHESIS_CASES", "2500"))
# A batch of examples that hypothesis makes from one seed.
BATCH = 100
OPERATIONS = (
    "GET /api/v1/orders",
    "POST /api/v1/orders",
    "GET /api/v1/orders/{order_id}",
    "GET /api/v1/orders/{order_id}/timeline",
    "POST /api/v1/orders/{order_id}/cancel",
    "POST /api/v1/orders/{order_id}/returns",
    "GET /api/v1/products",
    "POST /webhooks/payments/{gateway}",
)
CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]
KINDS = list(product(OPERATIONS, GenerationMode, (True, False)))

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def one_connection() -> Iterator[None]:
    """Let the end of a request not close the connection, which holds the transaction of the test.

    Django's own test client does the same for its requests, and would undo this.
    """
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def api() -> BaseSchema:
    """Return the document as the API serves it, with the API behind it."""
    return schemathesis.openapi.from_wsgi("/api/schema?format=json", application)


@pytest.fixture
def ada() -> Customer:
    """Return a customer with orders in every state, and something on the price list."""
    price("MUG", 1250)
    ada = customer()
    many_placed(5, customer_id=ada.id)
    for number, status in enumerate(("CONFIRMED", "CANCELLED", "CANCELLING", "RETURNED", "RETURNING"), 1):
        placed(("MUG", number), customer_id=ada.id, status=status)
    return ada


def test_every_operation_is_tried(api: Any) -> None:
    found = {operation.ok().label for operation in api.get_all_operations()}

    assert found == set(OPERATIONS)


@pytest.mark.parametrize(("operation", "mode", "has_token"), KINDS)
def test_every_answer_is_one_that_is_promised(
    api: Any,
    ada: Customer,
    operation: str,
    mode: GenerationMode,
    has_token: bool,
    record_property: Any,
) -> None:
    strategy = next(
        one.ok().as_strategy(generation_mode=mode) for one in api.get_all_operations() if one.ok().label == operation
    )
    wanted = -(-CASES // len(KINDS))
    headers = {"Authorization": f"Token {ada.token}"} if has_token else {}
    answered: Counter[int] = Counter()
    leader = random.Random(wanted)
    ids = [str(order_id) for order_id in Order.objects.values_list("id", flat=True)]

    def send(case: Case[Any]) -> None:
        if mode is GenerationMode.POSITIVE:
            _lead(case, leader, ids)
        response = case.call(headers=headers)
        answered[response.status_code] += 1
        case.validate_response(response, checks=CHECKS)

    for number in count():
        left = wanted - answered.total()
        if left <= 0:
            break
        limits = settings(
            max_examples=min(left, BATCH), deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )
        seed(number)(limits(given(case=strategy)(send)))()

    figures = ", ".join(f"{status}: {number}" for status, number in sorted(answered.items()))
    record_property("figures", f"{operation} {mode} {'with' if has_token else 'without'} token: {figures}")
    assert has_token or operation.endswith("products") or 200 not in answered
    assert 401 not in answered or not has_token or mode is GenerationMode.NEGATIVE or "webhooks" in operation


def _lead(case: Any, leader: random.Random, ids: list[str]) -> None:
    """Lead three in four valid requests past the doors at which a made-up one always stops."""
    if leader.random() < 0.25:
        return
    if "order_id" in (case.path_parameters or {}):
        case.path_parameters["order_id"] = leader.choice(ids)
    if "gateway" in (case.path_parameters or {}):
        case.path_parameters["gateway"] = "simulated"
    if isinstance(case.body, dict) and isinstance(case.body.get("items"), list):
        case.body["items"] = [{"sku": "MUG", "quantity": leader.randint(1, 10_000)}]
        case.body["payment_method"] = "pm_" + "".join(leader.choices(string.ascii_letters, k=8))
        case.body["shipping_address"] = ADDRESS
