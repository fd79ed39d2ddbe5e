"""What happens before a view sees a request, and when the servers behind it are away."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.conf import settings
from django.db import connection
from prometheus_client import REGISTRY
from rest_framework.throttling import SimpleRateThrottle

from config import api
from orders.models import Order
from tests.factories.orders import Customer, checkout, customer, price
from tests.factories.problems import assert_problem

KEY = "8e03978e-40d5-43e8-bc93-6894a57f9324"


@pytest.fixture(autouse=True)
def _fresh_counters() -> Iterator[None]:
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        client.flushdb()
        yield
        client.flushdb()


@pytest.fixture
def ada() -> Customer:
    """Return a customer, with something on the price list."""
    price("MUG", 1250)
    return customer()


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Return a port that nobody listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def limit(monkeypatch: pytest.MonkeyPatch, **rates: str) -> None:
    """Set the rates."""
    monkeypatch.setattr(SimpleRateThrottle, "THROTTLE_RATES", {"customer": None, "address": None, **rates})


@pytest.mark.django_db
def test_a_body_has_a_limit(ada: Customer) -> None:
    allowed = checkout(("MUG", 1), payment_method="x" * 60_000)
    response = ada.post("orders", checkout(("MUG", 1), payment_method="x" * 65_536))

    assert_problem(response, 413, "body-too-large")
    assert_problem(ada.post("orders", allowed), 422, "validation-failed")


@pytest.mark.django_db
def test_a_body_needs_its_length(ada: Customer) -> None:
    response = ada.client.generic(
        "POST", "/api/v1/orders", b"", headers={"Transfer-Encoding": "chunked"}, CONTENT_LENGTH=""
    )

    assert_problem(response, 411, "length-required")


@pytest.mark.django_db
def test_a_customer_is_throttled_before_the_layer(ada: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, customer="2/min")
    other = customer()
    first = ada.post("orders", checkout(("MUG", 1)), key=KEY)
    ada.get("orders")

    refused = ada.post("orders", checkout(("MUG", 1)), key=KEY)

    assert_problem(refused, 429, "throttled")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert first.status_code == 202
    assert other.get("orders").status_code == 200


@pytest.mark.django_db
def test_an_address_is_throttled_before_its_token_is_read(
    ada: Customer, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    limit(monkeypatch, address="1/min")
    ada.client.get("/api/v1/orders", headers={"Authorization": "Token wrong"})

    with django_assert_num_queries(0):
        refused = ada.get("orders")

    assert_problem(refused, 429, "throttled")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert ada.client.get("/api/v1/orders", REMOTE_ADDR="192.0.2.1").status_code == 200


@pytest.mark.django_db
def test_an_address_cannot_be_made_up(ada: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, address="1/min")
    ada.get("orders")

    response = ada.client.get("/api/v1/orders", headers={"X-Forwarded-For": "192.0.2.1"})

    assert_problem(response, 429, "throttled")


@pytest.mark.django_db
def test_throttles_let_pass_and_count_when_redis_is_away(
    ada: Customer, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    limit(monkeypatch, customer="1/min", address="1/min")
    monkeypatch.setattr(api, "_redis", lambda: redis.Redis(port=closed_port))
    monkeypatch.setattr(api.WindowThrottle, "_silent_until", 0.0)
    before = REGISTRY.get_sample_value("api_throttle_failures_total") or 0

    statuses = [ada.get("orders").status_code for _ in range(3)]

    assert statuses == [200, 200, 200]
    assert REGISTRY.get_sample_value("api_throttle_failures_total") == before + 6


def test_a_database_that_is_away_is_a_503(committed: None, monkeypatch: pytest.MonkeyPatch, closed_port: int) -> None:
    price("MUG", 1250)
    ada = customer()
    paths = ["/api/v1/orders", f"/api/v1/orders/{KEY}"]
    with monkeypatch.context() as away:
        connection.close()
        away.setitem(connection.settings_dict, "PORT", closed_port)
        responses = [ada.client.get(path) for path in paths]
        responses.append(ada.post("orders", checkout(("MUG", 1)), key=KEY))
        responses.append(ada.client.post("/admin/login/", {"username": "x", "password": "y"}))

    for response in responses:
        assert_problem(response, 503, "service-unavailable")
        assert response.headers["Retry-After"] == "2"
    assert ada.post("orders", checkout(("MUG", 1)), key=KEY).status_code == 202


def test_a_connection_that_was_cut_is_a_503_and_the_repetition_runs(committed: None) -> None:
    price("MUG", 1250)
    ada = customer()
    ada.get("orders")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (backend,) = cursor.fetchone()
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [backend])
    other.close()

    cut = ada.post("orders", checkout(("MUG", 1)), key=KEY)
    connection.close()

    assert_problem(cut, 503, "service-unavailable")
    assert ada.post("orders", checkout(("MUG", 1)), key=KEY).status_code == 202
    assert Order.objects.count() == 1
