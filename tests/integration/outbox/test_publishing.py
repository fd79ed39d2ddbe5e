"""A message is written with the change it tells of, in one statement, or not at all."""

import pytest
from django.db import DataError, connection, transaction
from django.test.utils import CaptureQueriesContext
from uuid_utils.compat import uuid7

from outbox import doorbell
from outbox.models import Delivery, Lane, Message
from outbox.publishing import Outgoing, UnroutedMessage, publish
from outbox.transactions import OutsideTransaction
from tests.messaging import Act, Bank, Clerk, Garbled, Noted, Undo, Wiring, say, waiting

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["outbox"])


def outgoing(number: int = 0) -> Outgoing:
    return Outgoing(data=Noted(number=number), source="test", subject=uuid7())


def test_nothing_is_said_outside_a_transaction(wiring: Wiring) -> None:
    wiring.consumer({Noted: Clerk().joined()})

    with pytest.raises(OutsideTransaction, match=r"transaction\.atomic"):
        publish([outgoing()])

    assert waiting() == []


def test_an_empty_list_outside_a_transaction_is_refused_too(wiring: Wiring) -> None:
    with pytest.raises(OutsideTransaction):
        publish([])


def test_a_message_is_rolled_back_with_its_change(wiring: Wiring) -> None:
    wiring.consumer({Noted: Clerk().joined()})

    with transaction.atomic():
        [message_id] = publish([outgoing()])
        transaction.set_rollback(True)

    assert waiting() == []
    assert not Message.objects.filter(id=message_id).exists()


def test_a_message_of_a_savepoint_is_rolled_back_with_it(wiring: Wiring) -> None:
    wiring.consumer({Noted: Clerk().joined()})

    with transaction.atomic():
        kept = publish([outgoing()])
        with transaction.atomic():
            publish([outgoing()])
            transaction.set_rollback(True)

    assert waiting() == kept


def test_500_messages_cost_one_statement(wiring: Wiring) -> None:
    wiring.consumer({Noted: Clerk().joined()}, name="one")
    wiring.consumer({Noted: Clerk().joined()}, name="two")

    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        ids = publish([outgoing(number) for number in range(500)])

    assert len(queries) == 1
    assert len(set(ids)) == 500
    assert waiting() == [message_id for message_id in ids for _ in range(2)]


def test_the_log_and_the_queue_say_what_was_published(wiring: Wiring) -> None:
    wiring.consumer({Act: Bank().effectful()})
    order_id, saga_id, cause = uuid7(), uuid7(), uuid7()

    with transaction.atomic():
        [message_id] = publish(
            [
                Outgoing(
                    data=Act(number=7),
                    source="test",
                    subject=order_id,
                    correlation_id=saga_id,
                    causation_id=cause,
                    traceparent="00-ab-cd-01",
                    step="act",
                    direction="action",
                )
            ]
        )

    message = Message.objects.get(id=message_id)
    assert (message.kind, message.type, message.version, message.source) == ("command", "test.act", 1, "test")
    assert (message.ordering_key, message.correlation_id, message.causation_id) == (order_id, saga_id, cause)
    assert message.headers == {"traceparent": "00-ab-cd-01", "step": "act", "direction": "action"}
    assert message.payload == {"number": 7}
    delivery = Delivery.objects.get()
    assert (delivery.message_id, delivery.message_time) == (message_id, message.time)
    assert (delivery.destination, delivery.lane, delivery.kind, delivery.type) == (
        "tester",
        "effects",
        "command",
        "test.act",
    )
    assert (delivery.ordering_key, delivery.attempts, delivery.token) == (order_id, 0, None)


def test_the_sequence_within_a_key_is_the_order_of_saying(wiring: Wiring) -> None:
    key = uuid7()

    ids = say(*(Noted(number=number) for number in range(50)), key=key)
    ids += say(*(Noted(number=number) for number in range(50)), key=key)

    said = Message.objects.filter(ordering_key=key).order_by("sequence")
    assert [message.id for message in said] == ids


def test_a_type_without_a_route_is_refused_and_nothing_of_its_batch_is_written(wiring: Wiring) -> None:
    wiring.consumer({Noted: Clerk().joined()})
    wiring.forget(Act)

    with transaction.atomic(), pytest.raises(UnroutedMessage, match=r"test\.act"):
        publish([outgoing(), Outgoing(data=Act(), source="test", subject=uuid7())])

    assert waiting() == []


def test_what_nobody_wants_is_logged_and_rings_nobody(wiring: Wiring, monkeypatch: pytest.MonkeyPatch) -> None:
    rung: list[object] = []
    monkeypatch.setattr(doorbell, "ring", lambda lanes, _: rung.append(lanes))

    [message_id] = say(Noted())

    assert Message.objects.filter(id=message_id).exists()
    assert waiting() == []
    assert rung == []


def test_a_transaction_rings_each_lane_once_it_has_committed(wiring: Wiring, monkeypatch: pytest.MonkeyPatch) -> None:
    rung: list[set[str]] = []
    monkeypatch.setattr(doorbell, "ring", lambda lanes, _: rung.append(lanes))
    wiring.consumer({Noted: Clerk().joined(), Act: Bank().effectful(), Undo: Bank().effectful()})

    with transaction.atomic():
        say(Noted(), Noted(), Act())
        say(Undo(), saga_id=uuid7(), step="act", direction="compensation")
        assert rung == []

    assert rung == [{Lane.RELAY, Lane.EFFECTS}, {Lane.COMPENSATIONS}]


def test_a_doorbell_that_breaks_does_not_reach_the_publisher(wiring: Wiring, monkeypatch: pytest.MonkeyPatch) -> None:
    wiring.consumer({Noted: Clerk().joined()})
    monkeypatch.setattr(doorbell, "ring", lambda *_: 1 / 0)

    ids = say(Noted())

    assert waiting() == ids


def test_a_text_that_the_database_cannot_hold_is_refused_with_the_change(wiring: Wiring) -> None:
    wiring.consumer({Noted: Clerk().joined()})

    with pytest.raises(DataError, match="u0000"):
        say(Garbled(number="\x00"))

    assert waiting() == []
