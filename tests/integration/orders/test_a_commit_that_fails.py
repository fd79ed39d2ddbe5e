"""A checkout whose connection breaks after everything was written and before it was committed: nothing was accepted."""

from typing import Any

import psycopg
import pytest
from django.db import connection

from orders import services
from orders.models import Order
from outbox.idempotency import IdempotencyKey
from tests.factories.orders import checkout, customer, price, told
from tests.factories.problems import assert_problem

KEY = "8e03978e-40d5-43e8-bc93-6894a57f9324"


def test_what_was_not_committed_is_not_accepted_and_the_repetition_runs(
    committed: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    price("MUG", 1250)
    ada = customer()
    publish = vars(services)["publish"]

    def publish_and_cut(*arguments: Any) -> None:
        publish(*arguments)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            (backend,) = cursor.fetchone()
        with psycopg.connect(**_address()) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [backend])

    with monkeypatch.context() as cutting:
        cutting.setattr(services, "publish", publish_and_cut)
        cut = ada.post("orders", checkout(("MUG", 1)), key=KEY)
    connection.close()

    assert_problem(cut, 503, "service-unavailable")
    assert "api.database.away" in caplog.text
    assert (Order.objects.count(), IdempotencyKey.objects.count()) == (0, 0)
    again = ada.post("orders", checkout(("MUG", 1)), key=KEY)
    assert again.status_code == 202
    assert told(again.json()["id"]) == ["order.created"]


def _address() -> dict[str, Any]:
    wanted = ("host", "port", "user", "password", "dbname")
    parameters = connection.get_connection_params()
    return {name: parameters[name] for name in wanted if name in parameters}
