"""`Prefer: wait=N`: the end if it comes in time, else the acceptance; the key keeps what was answered."""

import time
from collections.abc import Iterator
from uuid import UUID

import pytest
from django.db import OperationalError

from orders.api import waiting
from orders.models import Order
from outbox.idempotency import IdempotencyKey
from tests.factories.orders import Customer, checkout, customer, price

pytestmark = pytest.mark.django_db

KEY = "8e03978e-40d5-43e8-bc93-6894a57f9324"


@pytest.fixture
def ada() -> Customer:
    """Return a customer, with something on the price list."""
    price("MUG", 1250)
    return customer()


@pytest.fixture
def settles(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[UUID]]:
    """Let every order be confirmed when it is looked at for the third time."""
    looks: list[UUID] = []

    def look(*, order_id: UUID) -> bool:
        looks.append(order_id)
        if len(looks) == 3:
            Order.objects.filter(id=order_id).update(status="CONFIRMED")
        return Order.objects.filter(id=order_id, status__in=Order.SETTLED).exists()

    monkeypatch.setattr(waiting, "is_settled", look)
    return iter([looks])


def test_the_end_is_answered_if_it_comes_in_time(ada: Customer, settles: object) -> None:
    response = ada.post("orders", checkout(("MUG", 1)), headers={"Prefer": "wait=5"})

    assert response.status_code == 201
    assert response.json()["status"] == "CONFIRMED"
    assert response.headers["Location"] == response.json()["links"]["self"]
    assert response.headers["Preference-Applied"] == "wait=5"
    assert ada.get(f"orders/{response.json()['id']}").json() == response.json()


def test_a_repetition_gets_the_end_that_was_answered(ada: Customer, settles: object) -> None:
    first = ada.post("orders", checkout(("MUG", 1)), key=KEY, headers={"Prefer": "wait=5"})
    Order.objects.update(status="RETURNED")

    for headers in ({}, {"Prefer": "wait=5"}):
        again = ada.post("orders", checkout(("MUG", 1)), key=KEY, headers=headers)
        assert (again.status_code, again.content) == (201, first.content)
        assert again.headers["Idempotency-Replayed"] == "true"
        assert again.headers["Location"] == first.headers["Location"]
    assert IdempotencyKey.objects.count() == 1


def test_the_acceptance_is_answered_if_the_end_does_not_come(ada: Customer) -> None:
    began = time.monotonic()

    response = ada.post("orders", checkout(("MUG", 1)), key=KEY, headers={"Prefer": "wait=1"})

    assert 1 <= time.monotonic() - began < 2
    assert (response.status_code, response.json()["status"]) == (202, "PENDING")
    assert "Preference-Applied" not in response.headers


def test_a_repetition_never_waits(ada: Customer) -> None:
    first = ada.post("orders", checkout(("MUG", 1)), key=KEY)
    began = time.monotonic()

    again = ada.post("orders", checkout(("MUG", 1)), key=KEY, headers={"Prefer": "wait=10"})

    assert time.monotonic() - began < 1
    assert (again.status_code, again.content) == (202, first.content)


def test_a_refusal_does_not_wait(ada: Customer) -> None:
    ada.post("orders", checkout(("MUG", 1)))
    began = time.monotonic()

    response = ada.post("orders", checkout(("MUG", 1)), headers={"Prefer": "wait=10"})

    assert response.status_code == 409
    assert time.monotonic() - began < 1


def test_only_so_many_wait_at_a_time(ada: Customer) -> None:
    places = [waiting._places.acquire(blocking=False) for _ in range(waiting.MAX_WAITING)]
    began = time.monotonic()

    response = ada.post("orders", checkout(("MUG", 1)), headers={"Prefer": "wait=10"})
    waiting._places.release(len(places))

    assert all(places)
    assert response.status_code == 202
    assert time.monotonic() - began < 1


def test_a_database_that_goes_away_only_ends_the_waiting(ada: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*, order_id: UUID) -> bool:
        raise OperationalError(order_id)

    monkeypatch.setattr(waiting, "is_settled", away)

    assert ada.post("orders", checkout(("MUG", 1)), headers={"Prefer": "wait=5"}).status_code == 202
    assert waiting._places._value == waiting.MAX_WAITING
