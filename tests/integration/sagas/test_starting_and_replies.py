"""How a saga starts, goes on and ends: once, whatever comes twice, late or in another order."""

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from prometheus_client import REGISTRY
from uuid_utils.compat import uuid7

from inventory.contracts import InventoryFailed, InventoryReserved
from orders.contracts import OrderCancelled, OrderCancelRequested, OrderConfirmed, OrderConfirmRefused
from outbox.contracts import COMPENSATION
from outbox.models import Delivery, Message
from outbox.publishing import Outgoing, publish
from payments.contracts import PaymentFailed
from sagas.handlers import handle
from sagas.models import SagaInstance
from sagas.testing import sample
from shipping.contracts import ShipmentFailed
from tests.factories.envelopes import envelope
from tests.factories.plays import Play, run_engine
from tests.messaging import execute, waiting

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["outbox", "sagas"])

FORWARD = [
    ("inventory.reserve", "reserve-inventory", "action"),
    ("payment.charge", "charge-payment", "action"),
    ("shipment.create", "create-shipment", "action"),
    ("order.confirm", "confirm-order", "action"),
]


def duplicates() -> float:
    return REGISTRY.get_sample_value("inbox_duplicates_total") or 0.0


def engine_waits_for_nothing() -> bool:
    return not Delivery.objects.filter(destination="sagas").exists()


def test_an_order_goes_from_checkout_to_confirmed() -> None:
    play = Play().begin().reserved().charged().shipped().confirmed()

    assert play.commands == FORWARD
    assert play.status == ("COMPLETED", "")
    saga = play.saga()
    assert saga.ended_at is not None
    assert saga.due_at is None
    assert set(play.steps.values()) == {"SUCCEEDED"}
    assert play.cases == []


def test_each_command_names_what_caused_it() -> None:
    play = Play()
    created = play.say(play.created())
    run_engine()
    reserved = play.say(InventoryReserved(order_id=play.order_id), step="reserve-inventory")
    run_engine()

    assert play.command("inventory.reserve").causation_id == created
    assert play.command("payment.charge").causation_id == reserved
    assert play.command("payment.charge").correlation_id == play.saga().pk


def test_the_same_order_told_of_twice_starts_one_saga() -> None:
    play = Play().begin()
    before = duplicates()

    play.begin()

    assert SagaInstance.objects.filter(key=play.order_id).count() == 1
    assert play.commands == FORWARD[:1]
    assert duplicates() - before == 1
    assert engine_waits_for_nothing()


def test_an_order_told_of_again_after_its_end_starts_nothing() -> None:
    """The row of an ended saga is the tombstone."""
    play = Play().begin().reserved().charged().shipped().confirmed()

    play.begin()

    assert play.status == ("COMPLETED", "")
    assert play.commands == FORWARD


def test_a_batch_of_orders_is_begun_at_once() -> None:
    plays = [Play() for _ in range(30)]
    for play in plays:
        play.say(play.created())

    assert run_engine() == 30

    assert [play.commands for play in plays] == [FORWARD[:1]] * 30


def test_a_batch_costs_the_same_statements_whatever_its_size() -> None:
    costs = []
    for many in (1, 20):
        sagas = [Play().begin().saga() for _ in range(many)]
        batch = [
            envelope(InventoryReserved(order_id=saga.key), saga_id=saga.pk, step="reserve-inventory") for saga in sagas
        ]
        with transaction.atomic(), CaptureQueriesContext(connection) as queries:
            handle(batch)
        costs.append(len(queries))

    # The clock, load, save, publish.
    assert costs == [4, 4]


def test_a_reply_that_comes_twice_counts_once() -> None:
    play = Play().begin().reserved()
    before = duplicates()

    play.reserved()

    assert play.commands == FORWARD[:2]
    assert duplicates() - before == 1


def test_a_reply_to_a_command_that_was_not_sent_is_ignored() -> None:
    play = Play().begin()

    play.shipped().confirmed()

    assert play.commands == FORWARD[:1]
    assert play.steps == {"reserve-inventory": "RUNNING"}


def test_a_failure_after_the_success_of_the_same_step_is_ignored() -> None:
    play = Play().begin().reserved()

    play.hear(InventoryFailed(order_id=play.order_id, reason="out_of_stock"), step="reserve-inventory")

    assert play.status == ("RUNNING", "")
    assert play.commands == FORWARD[:2]


def test_a_reply_of_another_saga_is_ignored() -> None:
    play, other = Play().begin(), Play().begin()
    order_id, play.order_id = play.order_id, other.order_id
    saga = SagaInstance.objects.get(key=order_id)
    SagaInstance.objects.filter(key=other.order_id).delete()

    play.say(InventoryReserved(order_id=order_id))
    run_engine()

    assert SagaInstance.objects.get(pk=saga.pk).steps["charge-payment"] == {}


def test_an_event_that_names_a_saga_that_is_not_here_is_ignored() -> None:
    play = Play().begin()
    saga = play.saga()
    SagaInstance.objects.filter(pk=saga.pk).update(id=uuid7())

    play.reserved()
    execute("UPDATE sagas_sagainstance SET id = %s WHERE key = %s", saga.pk, play.order_id)

    assert engine_waits_for_nothing()


@pytest.mark.parametrize(
    ("failure", "step", "done", "undone", "reason"),
    [
        (InventoryFailed, "reserve-inventory", 0, [], "out_of_stock"),
        (PaymentFailed, "charge-payment", 1, ["reserve-inventory"], "payment_declined"),
        (ShipmentFailed, "create-shipment", 2, ["charge-payment", "reserve-inventory"], "shipping_refused"),
        (
            OrderConfirmRefused,
            "confirm-order",
            3,
            ["create-shipment", "charge-payment", "reserve-inventory"],
            "cancelled_by_customer",
        ),
    ],
)
def test_a_step_that_fails_turns_the_saga_back(
    failure: type, step: str, done: int, undone: list[str], reason: str
) -> None:
    play = Play().begin()
    for advance in (play.reserved, play.charged, play.shipped)[:done]:
        advance()

    play.hear(failure(order_id=play.order_id, reason=reason), step=step)
    for name in undone:
        play.undone(name)
    play.hear(OrderCancelled(order_id=play.order_id, customer_id=7, reason=reason), step="close")

    assert play.status == ("COMPENSATED", reason)
    assert [(name, way) for _, name, way in play.commands[done + 1 :]] == [
        *((name, COMPENSATION) for name in undone),
        ("close", "action"),
    ]
    assert Message.objects.get(ordering_key=play.order_id, type="order.cancel").payload["reason"] == reason
    assert play.steps[step] == "FAILED"


def test_a_failure_that_is_not_definite_is_undone_too() -> None:
    play = Play().begin().reserved()

    play.hear(
        PaymentFailed(order_id=play.order_id, reason="payment_unavailable", definite=False), step="charge-payment"
    )

    assert play.commands[-1] == ("payment.refund", "charge-payment", "compensation")
    assert play.steps["charge-payment"] == "COMPENSATING"


def test_the_late_success_of_a_step_that_is_being_undone_changes_nothing() -> None:
    play = Play().begin().reserved()
    play.hear(OrderCancelRequested(order_id=play.order_id, reason="cancelled_by_customer"))

    play.charged()

    assert play.status == ("COMPENSATING", "cancelled_by_customer")
    assert play.commands[-1] == ("payment.refund", "charge-payment", "compensation")
    play.undone("charge-payment").undone("reserve-inventory")
    assert play.commands[-1] == ("order.cancel", "close", "action")


def test_a_cancel_is_the_same_path_as_a_failure() -> None:
    play = Play().begin().reserved().charged()

    play.hear(OrderCancelRequested(order_id=play.order_id, reason="cancelled_by_customer"))

    assert play.status == ("COMPENSATING", "cancelled_by_customer")
    assert play.commands[-1] == ("shipment.cancel", "create-shipment", "compensation")


def test_a_cancel_past_the_pivot_is_ignored() -> None:
    play = Play().begin().reserved().charged().shipped()

    play.hear(OrderCancelRequested(order_id=play.order_id, reason="cancelled_by_customer"))

    assert play.status == ("RUNNING", "")
    assert play.commands == FORWARD


def test_a_cancel_that_is_said_before_the_saga_has_begun_finds_it_begun() -> None:
    """Both events lie in the queue: they are heard in their order."""
    play = Play()
    play.say(play.created())
    play.say(OrderCancelRequested(order_id=play.order_id, reason="cancelled_by_customer"))

    run_engine()

    assert play.status == ("COMPENSATING", "cancelled_by_customer")
    assert play.commands == [FORWARD[0], ("inventory.release", "reserve-inventory", "compensation")]


def test_a_cancel_for_an_order_without_a_saga_does_nothing() -> None:
    Play().hear(OrderCancelRequested(order_id=uuid7(), reason="cancelled_by_customer"))

    assert waiting() == []
    assert SagaInstance.objects.count() == 0


def test_a_saga_of_a_version_that_is_gone_is_left_alone_and_its_neighbours_go_on() -> None:
    """A release has lost the version of one saga in the batch: only that one is put to rest."""
    plays = [Play().begin() for _ in range(5)]
    SagaInstance.objects.filter(key=plays[2].order_id).update(version=99)
    for play in plays:
        play.say(InventoryReserved(order_id=play.order_id), step="reserve-inventory")

    run_engine()

    assert [play.commands for play in plays if play is not plays[2]] == [FORWARD[:2]] * 4
    left = Delivery.objects.get(destination="sagas")
    assert (left.ordering_key, left.attempts, left.error_class) == (plays[2].order_id, 1, "UnknownDefinition")
    SagaInstance.objects.filter(key=plays[2].order_id).update(version=1)
    Delivery.objects.filter(destination="sagas").update(available_at="2026-01-01T00:00Z")
    run_engine()
    assert plays[2].commands == FORWARD[:2]


def test_fields_that_a_newer_publisher_adds_are_accepted() -> None:
    play = Play()
    message_id = play.say(play.created())
    execute("ALTER TABLE outbox_message DISABLE TRIGGER outbox_append_only")
    try:
        execute("UPDATE outbox_message SET payload = payload || '{\"gift\": true}' WHERE id = %s", message_id)
    finally:
        execute("ALTER TABLE outbox_message ENABLE ALWAYS TRIGGER outbox_append_only")

    run_engine()

    assert play.commands == FORWARD[:1]


def test_a_saga_remembers_the_trace_of_the_request_that_began_it() -> None:
    play = Play()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with transaction.atomic():
        publish([Outgoing(data=play.created(), source="test", subject=play.order_id, traceparent=trace)])
    run_engine()

    assert play.command("inventory.reserve").headers["traceparent"] == trace
    assert play.hear(sample(OrderConfirmed, order_id=play.order_id)).commands == FORWARD[:1]
