"""A checkout killed around its commit: the repetition makes one order, or gets the kept answer."""

import json
import os
import signal
import subprocess
import sys

import pytest
from django.db import connection

from orders.models import Order
from outbox.idempotency import IdempotencyKey
from tests.factories.orders import Customer, checkout, customer, price, told

KEY = "8e03978e-40d5-43e8-bc93-6894a57f9324"


@pytest.fixture
def ada(committed: None) -> Customer:
    """Return a customer, with something on the price list."""
    price("MUG", 1250)
    return customer()


def die(ada: Customer, moment: str) -> None:
    """Send the checkout from a process of its own that is killed at the moment."""
    settings = connection.settings_dict
    address = f"{settings['USER']}:{settings['PASSWORD']}@{settings['HOST']}:{settings['PORT']}/{settings['NAME']}"
    body = json.dumps(checkout(("MUG", 1)))
    process = subprocess.run(
        [sys.executable, "-m", "tests.integration.orders.dying_checkout", moment, ada.token, KEY, body],
        env={**os.environ, "DATABASE_URL": f"postgresql://{address}"},
        timeout=60,
    )
    assert process.returncode == -signal.SIGKILL


def test_killed_before_the_commit_there_is_nothing_and_the_repetition_makes_one_order(ada: Customer) -> None:
    die(ada, "before")
    assert (Order.objects.count(), IdempotencyKey.objects.count()) == (0, 0)

    response = ada.post("orders", checkout(("MUG", 1)), key=KEY)

    assert response.status_code == 202
    assert "Idempotency-Replayed" not in response.headers
    assert Order.objects.count() == 1
    assert told(response.json()["id"]) == ["order.created"]


def test_killed_after_the_commit_the_repetition_gets_the_kept_answer(ada: Customer) -> None:
    die(ada, "after")
    order = Order.objects.get()

    response = ada.post("orders", checkout(("MUG", 1)), key=KEY)

    assert response.status_code == 202
    assert response.headers.get("Idempotency-Replayed") == "true"
    assert response.json()["id"] == str(order.id)
    assert Order.objects.count() == 1
    assert told(order.id) == ["order.created"]
