"""Two sagas that would get into each other's way on one order: the second one waits, or is refused."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from inventory.contracts import InventoryReleased
from orders.contracts import OrderConfirmed, OrderReturned
from outbox.models import Delivery
from payments.contracts import PaymentRefunded
from sagas import handlers
from sagas.definitions.order_return import ORDER_RETURN
from sagas.models import Case, SagaInstance
from tests.factories.plays import Play, run_engine
from tests.messaging import rest_of

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["outbox", "sagas"])


def sagas_of(play: Play) -> dict[str, str]:
    return dict(SagaInstance.objects.filter(key=play.order_id).values_list("name", "status"))


def let_the_wait_be_over() -> None:
    Delivery.objects.filter(destination="sagas").update(available_at=Now())


@pytest.fixture
def play() -> Play:
    """An order whose confirmation is on its way."""
    return Play().begin().reserved().charged().shipped()


def test_a_return_waits_for_the_fulfilment_and_then_starts(play: Play) -> None:
    request = play.say(play.return_requested())
    run_engine()
    assert sagas_of(play) == {"order-fulfilment": "RUNNING"}
    assert 0 < rest_of(request).total_seconds() <= 0.25

    play.confirmed()
    for _ in range(2):
        let_the_wait_be_over()
        run_engine()

    assert sagas_of(play) == {"order-fulfilment": "COMPLETED", "order-return": "RUNNING"}
    assert play.commands[-1] == ("payment.refund", "refund-payment", "action")
    assert not Delivery.objects.filter(destination="sagas").exists()


def test_what_the_first_saga_waits_for_passes_the_one_that_waits_for_it(play: Play) -> None:
    """The answer comes behind the return in the order of the key: it must not be held up by it."""
    play.say(play.return_requested())
    play.say(OrderConfirmed(order_id=play.order_id, customer_id=7), step="confirm-order")

    run_engine()

    assert sagas_of(play) == {"order-fulfilment": "COMPLETED"}
    let_the_wait_be_over()
    run_engine()
    assert sagas_of(play) == {"order-fulfilment": "COMPLETED", "order-return": "RUNNING"}


def test_waiting_burns_no_attempts_and_leaves_no_trail(play: Play) -> None:
    play.say(play.return_requested())
    for _ in range(20):
        run_engine()
        let_the_wait_be_over()

    waiting = Delivery.objects.get(destination="sagas")
    assert (waiting.attempts, waiting.dead_at) == (0, None)
    assert waiting.error == "another saga holds the lock 'order'"
    assert play.cases == []


def test_who_waits_for_too_long_is_put_before_a_person_and_still_waits(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "LOCK_PATIENCE", timedelta())
    request = play.say(play.return_requested())
    for _ in range(3):
        run_engine()
        let_the_wait_be_over()
    run_engine()

    [case] = play.cases
    assert (case.error_class, case.status, case.message_id) == ("SemanticLockHeld", Case.Status.OPEN, request)
    assert 30 < rest_of(request).total_seconds() <= 60
    play.confirmed()
    for _ in range(2):
        let_the_wait_be_over()
        run_engine()
    assert sagas_of(play) == {"order-fulfilment": "COMPLETED", "order-return": "RUNNING"}


def test_a_return_told_of_twice_while_it_waits_starts_once(play: Play) -> None:
    play.say(play.return_requested())
    play.say(play.return_requested())
    run_engine()
    play.confirmed()

    for _ in range(3):
        let_the_wait_be_over()
        run_engine()

    assert sagas_of(play) == {"order-fulfilment": "COMPLETED", "order-return": "RUNNING"}
    assert [command for command, *_ in play.commands].count("payment.refund") == 1


def test_orders_do_not_wait_for_each_other(play: Play) -> None:
    other = Play().begin().reserved().charged().shipped().confirmed()

    other.hear(other.return_requested())

    assert sagas_of(other)["order-return"] == "RUNNING"


def test_a_suspended_saga_holds_its_lock_an_ended_one_does_not(play: Play) -> None:
    SagaInstance.objects.filter(key=play.order_id).update(status="SUSPENDED")
    play.hear(play.return_requested())
    assert "order-return" not in sagas_of(play)

    SagaInstance.objects.filter(key=play.order_id).update(status="ABANDONED")
    let_the_wait_be_over()
    run_engine()

    assert sagas_of(play)["order-return"] == "RUNNING"


def test_who_declares_so_is_refused_and_a_person_is_told(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = replace(ORDER_RETURN, on_conflict="refuse")
    starters = {**handlers._starters(), ORDER_RETURN.started_by: (refusing,)}
    monkeypatch.setattr(handlers, "_starters", lambda: starters)

    play.hear(play.return_requested())

    assert sagas_of(play) == {"order-fulfilment": "RUNNING"}
    assert not Delivery.objects.filter(destination="sagas").exists()
    [case] = play.cases
    assert (case.status, case.error_class, case.saga_id) == (Case.Status.OPEN, "SemanticLockHeld", None)
    assert "order-return was refused" in case.error


def test_a_return_ends_with_the_money_given_back(play: Play) -> None:
    play.confirmed().hear(play.return_requested())

    play.hear(
        PaymentRefunded(order_id=play.order_id, amount=1250, currency="EUR"),
        step="refund-payment",
        saga="order-return",
    )
    play.hear(InventoryReleased(order_id=play.order_id), step="restock-inventory", saga="order-return")
    play.hear(OrderReturned(order_id=play.order_id, customer_id=7), step="notify-customer", saga="order-return")

    assert sagas_of(play) == {"order-fulfilment": "COMPLETED", "order-return": "COMPLETED"}
