"""Double clicks: however many requests carry one intent, there is one order, and nobody sees a 5xx."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from django.db import connection, connections, transaction

from orders import services
from orders.models import Order, OrderLine
from outbox.idempotency import IdempotencyKey
from tests.factories.orders import Customer, checkout, customer, price, told

KEY = "8e03978e-40d5-43e8-bc93-6894a57f9324"


@pytest.fixture
def ada(committed: None) -> Customer:
    """Return a customer, with something on the price list."""
    price("MUG", 1250)
    return customer()


def at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Make all calls at the same moment, each in a thread with a connection of its own."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            start.wait(timeout=30)
            return call()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_fifty_requests_with_one_key_make_one_order(ada: Customer) -> None:
    body = checkout(("MUG", 1))

    responses = at_once([lambda: ada.post("orders", body, key=KEY, client=ada.new_client())] * 50)

    accepted = [response for response in responses if response.status_code == 202]
    refused = [response for response in responses if response.status_code == 409]
    assert len(accepted) + len(refused) == 50
    assert len({response.content for response in accepted}) == 1
    assert sum("Idempotency-Replayed" not in response.headers for response in accepted) == 1
    assert {response.json()["code"] for response in refused} <= {"idempotency-key-in-flight"}
    assert {response.headers["Retry-After"] for response in refused} <= {"1"}
    order = Order.objects.get()
    assert accepted[0].json()["id"] == str(order.id)
    assert OrderLine.objects.count() == IdempotencyKey.objects.count() == 1
    assert told(order.id) == ["order.created"]
    again = ada.post("orders", body, key=KEY)
    assert (again.status_code, again.content) == (202, accepted[0].content)


def test_twenty_clicks_with_keys_of_their_own_make_one_order(ada: Customer) -> None:
    body = checkout(("MUG", 1))

    began = time.monotonic()
    responses = at_once([lambda: ada.post("orders", body, client=ada.new_client())] * 20)
    took = time.monotonic() - began

    order = Order.objects.get()
    assert Counter(response.status_code for response in responses) == {202: 1, 409: 19}
    refused = [response.json() for response in responses if response.status_code == 409]
    assert {problem["code"] for problem in refused} == {"duplicate-order"}
    assert {problem["order"]["id"] for problem in refused} == {str(order.id)}
    assert told(order.id) == ["order.created"]
    # A deadlock between two of them would be found after a second.
    assert took < 5


def test_twenty_customers_do_not_disturb_each_other(committed: None) -> None:
    price("MUG", 1250)
    customers = [customer() for _ in range(20)]
    body = checkout(("MUG", 1))

    responses = at_once([partial(someone.post, "orders", body, key=KEY) for someone in customers])

    assert Counter(response.status_code for response in responses) == {202: 20}
    assert Order.objects.count() == 20


def test_a_request_in_flight_is_told_to_the_second_at_once(ada: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    running, finish = threading.Event(), threading.Event()
    publish = vars(services)["publish"]

    def slow(*arguments: Any) -> Any:
        running.set()
        finish.wait(timeout=30)
        return publish(*arguments)

    monkeypatch.setattr(services, "publish", slow)
    body = checkout(("MUG", 1))

    def second() -> tuple[Any, float]:
        running.wait(timeout=30)
        began = time.monotonic()
        response = ada.post("orders", body, key=KEY, client=ada.new_client())
        took = time.monotonic() - began
        finish.set()
        return response, took

    first, (refused, took) = at_once([lambda: ada.post("orders", body, key=KEY), second])

    assert first.status_code == 202
    assert (refused.status_code, refused.json()["code"]) == (409, "idempotency-key-in-flight")
    assert refused.headers["Retry-After"] == "1"
    assert took < 0.5
    assert Order.objects.count() == 1


def test_the_guard_waits_for_an_order_that_is_rolled_back(ada: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second click runs into the open transaction of the first, which fails in the end."""
    running = threading.Event()
    publish = vars(services)["publish"]

    def fail_once(*arguments: Any) -> Any:
        if running.is_set():
            return publish(*arguments)
        running.set()
        time.sleep(0.3)
        raise RuntimeError("a bug")

    monkeypatch.setattr(services, "publish", fail_once)
    body = checkout(("MUG", 1))

    def second() -> Any:
        running.wait(timeout=30)
        return ada.post("orders", body, client=ada.new_client())

    first, second_response = at_once([lambda: ada.post("orders", body), second])

    assert (first.status_code, second_response.status_code) == (500, 202)
    assert str(Order.objects.get().id) == second_response.json()["id"]


@pytest.mark.parametrize("_round", range(10))
def test_a_cancel_races_the_confirmation_and_one_of_them_wins(ada: Customer, _round: int) -> None:
    order_id = ada.post("orders", checkout(("MUG", 1))).json()["id"]
    order = Order.objects.get()

    def confirm() -> Any:
        with transaction.atomic():
            return services.confirm_orders(ids=[order.id])[order.id].status

    cancelled, confirmed = at_once(
        [lambda: ada.post(f"orders/{order_id}/cancel", client=ada.new_client()).status_code, confirm]
    )

    order.refresh_from_db()
    outcome = (cancelled, confirmed, order.status, told(order.id)[1:])
    assert outcome in (
        (202, "CANCELLING", "CANCELLING", ["order.cancel_requested"]),
        (409, "CONFIRMED", "CONFIRMED", []),
    )


def test_batches_over_the_same_orders_do_not_deadlock(committed: None) -> None:
    price("MUG", 1250)
    someone = customer()
    for quantity in range(1, 41):
        someone.post("orders", checkout(("MUG", quantity)))
    ids = list(Order.objects.values_list("id", flat=True))

    def confirm(chosen: list[Any]) -> Callable[[], int]:
        def run() -> int:
            with transaction.atomic():
                return len(services.confirm_orders(ids=chosen))

        return run

    counts = at_once([confirm(ids), confirm(ids[::-1]), confirm(ids[10:]), confirm(ids[30::-1])])

    assert counts == [40, 40, 30, 31]
    assert set(Order.objects.values_list("status", flat=True)) == {"CONFIRMED"}
