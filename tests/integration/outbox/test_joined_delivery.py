"""Claim, handle and settle in one transaction: once in effect, whatever breaks and wherever."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from prometheus_client import REGISTRY
from uuid_utils.compat import uuid7

from outbox.consumers import Consumer, Outcome, Retry, RetryPolicy, Wait
from outbox.contracts import COMPENSATION, Envelope, MessageDeadLettered
from outbox.joined import deliver
from outbox.models import Delivery, Lane, Message
from outbox.outcomes import fingerprint
from tests.messaging import (
    LONG,
    TWICE,
    Act,
    Acted,
    ActFailed,
    Clerk,
    Garbled,
    Noted,
    Undo,
    Undone,
    Wiring,
    dead,
    drain,
    execute,
    handled,
    make_due,
    rest_of,
    say,
    trail,
    waiting,
)

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["outbox"])


def unless(number: int, fail: Callable[[], object]) -> Callable[[Envelope[Any]], Outcome]:
    """Return the answer of a clerk that breaks at one number."""

    def answer(envelope: Envelope[Any]) -> Outcome:
        if envelope.data.number == number:
            fail()
        return None

    return answer


def raising(error: BaseException) -> Callable[[], object]:
    def fail() -> object:
        raise error

    return fail


def once(consumer: Consumer) -> int:
    """Let one relay make one pass."""
    types = [kind.wire_type for kind in consumer.handlers]
    return deliver(consumer=consumer, lane=Lane.RELAY, types=types, limit=500)


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def dead_letters(ids: Sequence[UUID]) -> list[MessageDeadLettered]:
    rows = Message.objects.filter(type="message.dead_lettered", causation_id__in=ids).order_by("sequence")
    return [msgspec.convert(row.payload, MessageDeadLettered) for row in rows]


def test_a_batch_is_handled_at_once_and_in_order(wiring: Wiring) -> None:
    clerk = Clerk()
    consumer = wiring.consumer({Noted: clerk.joined()})
    ids = say(*(Noted(number=number) for number in range(100)))

    assert once(consumer) == 100

    assert clerk.numbers == list(range(100))
    assert len(clerk.batches) == 1
    assert waiting() == []
    assert handled() == set(ids)


def test_a_batch_of_a_hundred_costs_as_many_statements_as_a_batch_of_one(
    wiring: Wiring, django_assert_num_queries: Any
) -> None:
    consumer = wiring.consumer({Noted: Clerk().joined(), Act: Clerk(lambda _: Acted()).joined()})
    for many in (1, 100):
        say(*(Noted() for _ in range(many)))
        say(*(Act() for _ in range(many)), saga_id=uuid7(), step="act")

        # Begin, claim, inbox, barrier, publish and settle, commit.
        with django_assert_num_queries(6):
            once(consumer)


def test_the_handler_sees_the_whole_envelope(wiring: Wiring) -> None:
    clerk = Clerk(lambda _: Acted(number=1))
    wiring.consumer({Act: clerk.joined()})
    order_id, saga_id = uuid7(), uuid7()
    [message_id] = say(Act(number=1), key=order_id, saga_id=saga_id, step="act")

    drain()

    [[seen]] = clerk.batches
    assert (seen.id, seen.subject, seen.correlation_id) == (message_id, order_id, saga_id)
    assert (seen.step, seen.direction, seen.attempt, seen.data) == ("act", "action", 1, Act(number=1))
    assert seen.step_key == f"{order_id}-{saga_id}-act"


def test_a_reply_names_its_command_and_takes_over_saga_step_and_direction(wiring: Wiring) -> None:
    consumer = wiring.consumer({Undo: Clerk(lambda _: Undone()).joined()})
    order_id, saga_id = uuid7(), uuid7()
    [message_id] = say(Undo(), key=order_id, saga_id=saga_id, step="act", direction=COMPENSATION)

    drain(Lane.COMPENSATIONS)

    reply = Message.objects.get(causation_id=message_id)
    assert (reply.type, reply.kind, reply.source) == ("test.undone", "event", consumer.name)
    assert (reply.ordering_key, reply.correlation_id) == (order_id, saga_id)
    assert reply.headers == {"step": "act", "direction": "compensation"}


@pytest.mark.parametrize("guilty", [0, 1, 50, 98, 99])
def test_one_guilty_message_of_a_hundred_fails_alone(wiring: Wiring, guilty: int) -> None:
    clerk = Clerk(unless(guilty, raising(ValueError("cannot do 7"))))
    consumer = wiring.consumer({Noted: clerk.joined()})
    ids = say(*(Noted(number=number) for number in range(100)))

    once(consumer)

    assert waiting() == [ids[guilty]]
    assert handled() == set(ids) - {ids[guilty]}
    assert trail(ids[guilty]) == [(1, "retry", "ValueError")]
    assert timedelta() < rest_of(ids[guilty]) <= LONG
    resting = Delivery.objects.get()
    assert (resting.attempts, resting.error_class, resting.error) == (1, "ValueError", "cannot do 7")


def test_the_guilty_one_is_dead_after_its_attempts_and_says_why(wiring: Wiring) -> None:
    clerk = Clerk(unless(0, raising(ValueError("cannot do 7"))))
    consumer = wiring.consumer({Noted: clerk.joined(RetryPolicy(attempts=9, bug_attempts=3, base=LONG, cap=LONG))})
    key = uuid7()
    [message_id] = say(Noted(number=0), key=key)
    before = metric("outbox_dead_total")

    for _ in range(5):
        make_due()
        once(consumer)

    assert clerk.numbers == [0, 0, 0]
    assert trail(message_id) == [
        (1, "retry", "ValueError"),
        (2, "retry", "ValueError"),
        (3, "dead", "ValueError"),
    ]
    mark = fingerprint(destination="tester", wire_type="test.noted", error_class="ValueError", error="cannot do 8")
    delivery = Delivery.objects.defer("available_at").get()
    assert (delivery.attempts, delivery.error, delivery.fingerprint) == (3, "cannot do 7", mark)
    assert dead_letters([message_id]) == [
        MessageDeadLettered(
            message_id=message_id,
            message_type="test.noted",
            message_kind="event",
            destination="tester",
            attempts=3,
            error_class="ValueError",
            error="cannot do 7",
            fingerprint=mark,
        )
    ]
    assert Message.objects.get(causation_id=message_id).ordering_key == key
    assert metric("outbox_dead_total") - before == 1


@pytest.mark.parametrize("kind", ["unreadable", "unknown"])
def test_what_cannot_be_read_is_dead_at_once_and_its_neighbours_are_fine(wiring: Wiring, kind: str) -> None:
    clerk = Clerk()
    consumer = wiring.consumer({Noted: clerk.joined(), Act: Clerk().joined()})
    ids = say(Noted(number=1), Garbled() if kind == "unreadable" else Act(), Noted(number=2))
    if kind == "unknown":
        wiring.forget(Act)

    once(consumer)

    assert clerk.numbers == [1, 2]
    assert waiting() == dead() == [ids[1]]
    error = {"unreadable": "ValidationError", "unknown": "LookupError"}[kind]
    assert trail(ids[1]) == [(1, "dead", error)]
    assert [letter.message_id for letter in dead_letters(ids)] == [ids[1]]


def test_outcomes_of_one_batch_go_their_own_ways(wiring: Wiring) -> None:
    answers: list[Outcome] = [
        Acted(number=0),
        ActFailed(reason="no"),
        None,
        Retry("busy"),
        Wait(timedelta(minutes=5), "too early"),
    ]
    consumer = wiring.consumer({Act: Clerk(lambda envelope: answers[envelope.data.number]).joined()})
    ids = say(*(Act(number=number) for number in range(5)), saga_id=uuid7(), step=None)

    once(consumer)

    assert waiting() == ids[3:]
    assert [Message.objects.filter(causation_id=i).values_list("type", flat=True).first() for i in ids] == [
        "test.acted",
        "test.act_failed",
        None,
        None,
        None,
    ]
    assert trail(ids[3]) == [(1, "retry", "TransientError")]
    assert trail(ids[4]) == []
    rows = {row.message_id: row for row in Delivery.objects.all()}
    assert (rows[ids[3]].attempts, rows[ids[3]].error) == (1, "busy")
    assert (rows[ids[4]].attempts, rows[ids[4]].error) == (0, "too early")
    assert timedelta(minutes=4) < rest_of(ids[4]) <= timedelta(minutes=5)


def test_waiting_burns_no_attempts_however_often(wiring: Wiring) -> None:
    clerk = Clerk(lambda _: Wait(LONG, "not yet"))
    consumer = wiring.consumer({Noted: clerk.joined(TWICE)})
    [message_id] = say(Noted(number=1))
    for _ in range(5):
        once(consumer)
        make_due()
    clerk.answer = lambda _: None

    once(consumer)

    assert clerk.numbers == [1] * 6
    assert waiting() == trail(message_id) == []


def test_a_retry_is_dead_when_its_attempts_are_spent(wiring: Wiring) -> None:
    consumer = wiring.consumer({Noted: Clerk(lambda _: Retry("busy", "StillBusy")).joined(TWICE)})
    [message_id] = say(Noted())

    for _ in range(3):
        once(consumer)
        make_due()

    assert trail(message_id) == [(1, "retry", "StillBusy"), (2, "dead", "StillBusy")]


@pytest.mark.parametrize("outcome", [Retry("busy"), Wait(LONG, "not yet")])
@pytest.mark.parametrize("direction", ["action", "compensation", None])
def test_the_place_of_what_is_put_off_is_given_back(wiring: Wiring, outcome: Outcome, direction: Any) -> None:
    clerk = Clerk(lambda _: outcome)
    message = Noted(number=1) if direction is None else Undo(number=1)
    consumer = wiring.consumer({type(message): clerk.joined()})
    lane = Lane.COMPENSATIONS if direction == "compensation" else Lane.RELAY
    step = None if direction is None else "act"
    say(message, saga_id=uuid7(), step=step, direction=direction)

    deliver(consumer=consumer, lane=lane, types=[message.wire_type], limit=10)
    clerk.answer = lambda _: None
    make_due()
    deliver(consumer=consumer, lane=lane, types=[message.wire_type], limit=10)

    assert clerk.numbers == [1, 1]
    assert waiting() == []


def test_an_event_delivered_twice_is_applied_once(wiring: Wiring) -> None:
    clerk = Clerk()
    consumer = wiring.consumer({Noted: clerk.joined()})
    say(Noted(number=1), Noted(number=2))
    execute(
        "INSERT INTO outbox_delivery (message_id, message_time, destination, lane, kind, type, ordering_key)"
        " SELECT message_id, message_time, destination, lane, kind, type, ordering_key FROM outbox_delivery"
    )
    before = metric("inbox_duplicates_total")
    again = metric("outbox_delivered_total", destination="tester", outcome="duplicate")

    once(consumer)
    once(consumer)

    assert clerk.numbers == [1, 2]
    assert waiting() == []
    assert metric("inbox_duplicates_total") - before == 2
    assert metric("outbox_delivered_total", destination="tester", outcome="duplicate") - again == 2


def test_a_command_delivered_twice_is_carried_out_once_and_answered_once(wiring: Wiring) -> None:
    clerk = Clerk(lambda _: Acted())
    wiring.consumer({Act: clerk.joined()})
    [message_id] = say(Act(number=1), saga_id=uuid7(), step="act")
    execute(
        "INSERT INTO outbox_delivery (message_id, message_time, destination, lane, kind, type, ordering_key)"
        " SELECT message_id, message_time, destination, lane, kind, type, ordering_key FROM outbox_delivery"
    )

    drain()

    assert clerk.numbers == [1]
    assert Message.objects.filter(causation_id=message_id).count() == 1


def test_two_consumers_of_one_event_both_get_it(wiring: Wiring) -> None:
    one, two = Clerk(), Clerk()
    wiring.consumer({Noted: one.joined()}, name="one")
    wiring.consumer({Noted: two.joined()}, name="two")
    [message_id] = say(Noted(number=1))

    drain()

    assert one.numbers == two.numbers == [1]
    assert handled("one") == handled("two") == {message_id}
