"""The checklist of the Idempotency-Key header, line by line, over HTTP."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from prometheus_client import REGISTRY

from orders import services
from orders.models import Order
from outbox.idempotency import IdempotencyKey, prune_expired
from outbox.models import Message
from tests.factories.orders import Customer, checkout, customer, placed, price, told
from tests.factories.problems import assert_problem, errors_of

pytestmark = pytest.mark.django_db

KEY = "8e03978e-40d5-43e8-bc93-6894a57f9324"


@pytest.fixture
def ada() -> Customer:
    """Return a customer, with something on the price list."""
    price("MUG", 1250)
    return customer()


def counted(outcome: str) -> float:
    """Return how many requests had this outcome so far."""
    return REGISTRY.get_sample_value("idempotency_requests_total", {"outcome": outcome}) or 0


def rows() -> tuple[int, int, int]:
    """Return how many orders, messages of orders and keys there are."""
    said = Message.objects.filter(source="orders").count()
    return Order.objects.count(), said, IdempotencyKey.objects.count()


def pass_time() -> None:
    """Let the duplicate guard of all orders be over."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE orders_order SET guard_window = 'empty'")


def expire_keys() -> None:
    """Let all answers be older than they are kept."""
    IdempotencyKey.objects.update(expires_at=Now() - timedelta(seconds=1))


def test_a_request_without_a_key_is_refused(ada: Customer) -> None:
    before = counted("missing")

    response = ada.client.post("/api/v1/orders", checkout(("MUG", 1)), content_type="application/json")

    assert_problem(response, 400, "idempotency-key-missing")
    assert rows() == (0, 0, 0)
    assert counted("missing") == before + 1


@pytest.mark.parametrize("key", [KEY, f'"{KEY}"', "k" * 255, f'"{"k" * 255}"'])
def test_a_key_is_accepted_bare_and_quoted(ada: Customer, key: str) -> None:
    assert ada.post("orders", checkout(("MUG", 1)), key=key).status_code == 202


@pytest.mark.parametrize("key", ["k" * 256, f'"{"k" * 256}"', '"open', "two words", "a,b", '""', "cl\xe9"])
def test_other_forms_of_a_key_are_refused(ada: Customer, key: str) -> None:
    before = counted("invalid")

    response = ada.post("orders", checkout(("MUG", 1)), headers={"Idempotency-Key": key})

    assert_problem(response, 400, "idempotency-key-invalid")
    assert rows() == (0, 0, 0)
    assert counted("invalid") == before + 1


def test_bare_and_quoted_are_the_same_key(ada: Customer) -> None:
    first = ada.post("orders", checkout(("MUG", 1)), key=KEY)

    assert ada.post("orders", checkout(("MUG", 1)), key=f'"{KEY}"').content == first.content


def test_a_repetition_gets_the_same_bytes_and_does_nothing(ada: Customer) -> None:
    first = ada.post("orders", checkout(("MUG", 1)), key=KEY)
    there, before = rows(), counted("replayed")

    second = ada.post("orders", checkout(("MUG", 1)), key=KEY)

    assert (second.status_code, second.content) == (202, first.content)
    assert second.headers["Location"] == first.headers["Location"]
    assert second.headers["Content-Type"] == first.headers["Content-Type"]
    assert second.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert rows() == there == (1, 1, 1)
    assert counted("replayed") == before + 1


def test_a_repetition_gets_the_first_answer_though_the_order_went_on(ada: Customer) -> None:
    first = ada.post("orders", checkout(("MUG", 1)), key=KEY)
    Order.objects.update(status="CONFIRMED")

    assert ada.post("orders", checkout(("MUG", 1)), key=KEY).content == first.content


def test_another_body_is_refused_and_the_first_answer_stays(ada: Customer) -> None:
    first = ada.post("orders", checkout(("MUG", 1)), key=KEY)
    before = counted("reused")

    assert_problem(ada.post("orders", checkout(("MUG", 2)), key=KEY), 422, "idempotency-key-reused")

    assert counted("reused") == before + 1
    assert rows() == (1, 1, 1)
    assert ada.post("orders", checkout(("MUG", 1)), key=KEY).content == first.content


def test_equal_json_written_otherwise_is_the_same(ada: Customer) -> None:
    body = checkout(("MUG", 1))
    first = ada.post("orders", json.dumps(body), key=KEY)
    turned = {name: body[name] for name in reversed(body)}

    second = ada.post("orders", json.dumps(turned, indent=4).replace("Ada", "\\u0041da"), key=KEY)

    assert second.content == first.content


def test_a_failure_is_not_kept_and_the_repetition_runs(ada: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as broken:
        broken.setattr(services, "publish", fail)
        failed = ada.post("orders", checkout(("MUG", 1)), key=KEY)

    assert_problem(failed, 500, "internal-error")
    assert rows() == (0, 0, 0)
    assert ada.post("orders", checkout(("MUG", 1)), key=KEY).status_code == 202
    assert rows() == (1, 1, 1)


def test_a_refusal_for_business_reasons_is_kept(ada: Customer) -> None:
    ada.post("orders", checkout(("MUG", 1)))
    refused = ada.post("orders", checkout(("MUG", 1)), key=KEY)
    assert_problem(refused, 409, "duplicate-order")
    pass_time()

    again = ada.post("orders", checkout(("MUG", 1)), key=KEY)

    assert (again.status_code, again.content) == (409, refused.content)
    assert again.headers["Content-Type"] == "application/problem+json"
    assert again.headers["Idempotency-Replayed"] == "true"
    assert rows() == (1, 1, 2)


@pytest.mark.parametrize("items", [[("MUG", 0)], [("NONE", 1)]])
def test_a_field_error_is_not_kept_and_the_corrected_body_works(ada: Customer, items: list[tuple[str, int]]) -> None:
    assert ada.post("orders", checkout(*items), key=KEY).status_code == 422
    assert rows() == (0, 0, 0)

    assert ada.post("orders", checkout(("MUG", 1)), key=KEY).status_code == 202


def test_who_has_no_token_does_not_get_to_the_layer(ada: Customer) -> None:
    ada.post("orders", checkout(("MUG", 1)), key=KEY)
    client = ada.new_client()
    client.defaults.pop("HTTP_AUTHORIZATION")

    with CaptureQueriesContext(connection) as queries:
        response = ada.post("orders", checkout(("MUG", 1)), key=KEY, client=client)

    assert_problem(response, 401, "not-authenticated")
    assert len(queries) == 0


def test_the_same_key_of_another_customer_is_another_key(ada: Customer) -> None:
    first = ada.post("orders", checkout(("MUG", 1)), key=KEY)

    second = customer().post("orders", checkout(("MUG", 1)), key=KEY)

    assert second.status_code == 202
    assert second.json()["id"] != first.json()["id"]
    assert rows() == (2, 2, 2)


def test_the_same_key_of_another_endpoint_is_another_key(ada: Customer) -> None:
    order_id = ada.post("orders", checkout(("MUG", 1)), key=KEY).json()["id"]

    cancelled = ada.post(f"orders/{order_id}/cancel", key=KEY)

    assert cancelled.status_code == 202
    assert cancelled.json()["status"] == "CANCELLING"
    assert_problem(ada.post(f"orders/{order_id}/returns", key=KEY), 409, "not-returnable")
    assert rows() == (1, 2, 3)


def test_one_key_cannot_cancel_two_orders(ada: Customer) -> None:
    first, second = placed(("MUG", 1), customer_id=ada.id), placed(("MUG", 2), customer_id=ada.id)
    ada.post(f"orders/{first.id}/cancel", key=KEY)

    assert_problem(ada.post(f"orders/{second.id}/cancel", key=KEY), 422, "idempotency-key-reused")

    second.refresh_from_db()
    assert second.status == "PENDING"


def test_repeated_cancels_get_the_same_bytes_and_tell_once(ada: Customer) -> None:
    order = placed(("MUG", 1), customer_id=ada.id)

    first = ada.post(f"orders/{order.id}/cancel", key=KEY)
    Order.objects.update(status="CANCELLED")
    second = ada.post(f"orders/{order.id}/cancel", key=KEY)

    assert (second.status_code, second.content) == (202, first.content)
    assert told(order.id) == ["order.created", "order.cancel_requested"]


@pytest.mark.parametrize("is_pruned", [False, True])
def test_an_expired_key_cannot_make_a_second_order(ada: Customer, is_pruned: bool) -> None:
    first = ada.post("orders", checkout(("MUG", 1)), key=KEY)
    pass_time()
    expire_keys()
    assert (prune_expired() if is_pruned else 0) == int(is_pruned)
    before = counted("expired")

    again = ada.post("orders", checkout(("MUG", 1)), key=KEY)

    assert_problem(again, 409, "idempotency-key-expired")
    assert again.headers["Location"] == first.headers["Location"]
    assert rows() == (1, 1, 1)
    assert counted("expired") == before + 1


@pytest.mark.parametrize("is_pruned", [False, True])
def test_an_expired_refusal_is_forgotten(ada: Customer, is_pruned: bool) -> None:
    ada.post("orders", checkout(("MUG", 1)))
    assert_problem(ada.post("orders", checkout(("MUG", 1)), key=KEY), 409, "duplicate-order")
    pass_time()
    expire_keys()
    assert (prune_expired() if is_pruned else 0) == 2 * int(is_pruned)

    assert ada.post("orders", checkout(("MUG", 1)), key=KEY).status_code == 202


def test_pruning_drops_expired_answers_in_bounded_batches(ada: Customer) -> None:
    for quantity in range(1, 6):
        ada.post("orders", checkout(("MUG", quantity)))
    expire_keys()
    ada.post("orders", checkout(("MUG", 6)), key=KEY)

    assert prune_expired(batch=2, batches=2) == 4
    assert prune_expired(batch=2) == 1
    assert prune_expired() == 0

    assert IdempotencyKey.objects.filter(body=None).count() == 5
    assert IdempotencyKey.objects.get(key=KEY).body is not None


def test_an_answer_is_kept_as_long_as_the_setting_says(ada: Customer, settings: Any) -> None:
    settings.IDEMPOTENCY_KEY_TTL = 120

    ada.post("orders", checkout(("MUG", 1)), key=KEY)

    kept = IdempotencyKey.objects.get(key=KEY)
    assert (kept.expires_at - kept.created_at).total_seconds() == pytest.approx(120, abs=0.1)


def test_the_wrong_body_of_an_expired_key_is_still_refused(ada: Customer) -> None:
    ada.post("orders", checkout(("MUG", 1)), key=KEY)
    expire_keys()
    prune_expired()

    assert_problem(ada.post("orders", checkout(("MUG", 2)), key=KEY), 422, "idempotency-key-reused")


def test_a_body_with_a_card_number_never_meets_the_layer(ada: Customer) -> None:
    response = ada.post("orders", checkout(("MUG", 1), payment_method="4242424242424242"), key=KEY)

    assert errors_of(response) == [("#/payment_method", "card_number")]
    assert rows() == (0, 0, 0)
