"""Claim, handle and settle in one transaction: once in effect, whatever breaks and wherever."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest
from django.db import OperationalError
from prometheus_client import REGISTRY
from uuid_utils.compat import uuid7

from outbox import joined
from outbox.consumers import Consumer, Outcome, Retry, RetryPolicy, Wait
from outbox.contracts import COMPENSATION, Envelope, MessageDeadLettered
from outbox.joined import deliver
from outbox.models import BarrierEntry, Delivery, InboxEntry, Lane, Message
from outbox.outcomes import fingerprint, settle
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


class PowerCut(BaseException):
    """The process ends here; no handler of exceptions has a say."""


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

        # Begin, claim, inbox, barrier, publish, settle, commit.
        with django_assert_num_queries(7):
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


def test_a_power_cut_in_the_middle_rolls_everything_back(wiring: Wiring) -> None:
    """The handler has written, its neighbours are handled, then the process is gone."""

    def write_and_fall(envelope: Envelope[Any]) -> Outcome:
        InboxEntry.objects.create(consumer="written by the handler", message_id=envelope.id)
        if envelope.data.number == 7:
            raise PowerCut
        return Acted()

    clerk = Clerk(write_and_fall)
    consumer = wiring.consumer({Act: clerk.joined()})
    ids = say(*(Act(number=number) for number in range(10)), saga_id=None)
    said = Message.objects.count()

    with pytest.raises(PowerCut):
        once(consumer)

    assert waiting() == ids
    assert set(Delivery.objects.values_list("attempts", flat=True)) == {0}
    assert InboxEntry.objects.count() == BarrierEntry.objects.count() == 0
    assert Message.objects.count() == said
    clerk.answer = lambda _: Acted()
    once(consumer)
    assert waiting() == []
    assert Message.objects.filter(causation_id__in=ids).count() == 10


def test_a_connection_lost_in_the_middle_leaves_all_of_it_for_later(wiring: Wiring) -> None:
    def hang_up(_: Envelope[Any]) -> Outcome:
        execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return None

    clerk = Clerk(hang_up)
    consumer = wiring.consumer({Noted: clerk.joined()})
    ids = say(*(Noted(number=number) for number in range(10)))

    assert once(consumer) == 0

    assert waiting() == ids
    assert handled() == set()
    clerk.answer = lambda _: None
    once(consumer)
    assert waiting() == []


def test_a_deadlock_burns_no_attempt_and_is_simply_done_again(wiring: Wiring, monkeypatch: pytest.MonkeyPatch) -> None:
    clerk = Clerk()
    consumer = wiring.consumer({Noted: clerk.joined()})
    ids = say(*(Noted(number=number) for number in range(10)))
    deadlock = OperationalError("deadlock detected")
    deadlock.__cause__ = _with_state("40P01")
    monkeypatch.setattr(joined, "settle", raising_settle := _Once(settle, deadlock))

    once(consumer)
    assert (waiting(), raising_settle.left) == (ids, 0)
    once(consumer)

    assert waiting() == []
    assert [trail(message_id) for message_id in ids] == [[]] * 10


def test_one_message_that_always_exceeds_a_limit_of_the_server_does_not_hold_up_its_neighbours(
    wiring: Wiring,
) -> None:
    """A statement that is cancelled is an OperationalError like a deadlock, but it does not go away."""

    def too_slow() -> None:
        execute("SET LOCAL statement_timeout = 10")
        execute("SELECT pg_sleep(1)")

    clerk = Clerk(unless(5, too_slow))
    consumer = wiring.consumer({Noted: clerk.joined()})
    ids = say(*(Noted(number=number) for number in range(10)))

    for _ in range(4):
        once(consumer)
        make_due()

    assert waiting() == dead() == [ids[5]]
    assert trail(ids[5]) == [(1, "retry", "OperationalError"), (2, "dead", "OperationalError")]


def test_an_error_whose_text_the_database_cannot_hold_is_an_error_like_any_other(wiring: Wiring) -> None:
    clerk = Clerk(unless(5, raising(ValueError("answer: \x00\ud800"))))
    consumer = wiring.consumer({Noted: clerk.joined()})
    ids = say(*(Noted(number=number) for number in range(10)))

    for _ in range(3):
        once(consumer)
        make_due()

    assert waiting() == dead() == [ids[5]]
    assert trail(ids[5])[-1] == (2, "dead", "ValueError")


@pytest.mark.parametrize("outcome", [Retry("no\x00"), Wait(LONG, "no\x00"), ActFailed(reason="no", detail="\x00")])
def test_an_outcome_whose_text_the_database_cannot_hold_does_not_stop_the_relay(
    wiring: Wiring, outcome: Outcome
) -> None:
    def answer(envelope: Envelope[Any]) -> Outcome:
        return outcome if envelope.data.number == 1 else None

    consumer = wiring.consumer({Noted: Clerk(answer).joined()})
    [_, odd, _] = say(*(Noted(number=number) for number in range(3)))

    once(consumer)

    assert waiting() == [odd]
    assert rest_of(odd) > timedelta()


@pytest.mark.parametrize("answers", [[], [None, None], [True], [Act()]])
def test_a_handler_that_answers_nonsense_is_a_bug_of_the_handler(wiring: Wiring, answers: list[Any]) -> None:
    consumer = wiring.consumer({Noted: Clerk().joined()})
    object.__setattr__(consumer.handlers[Noted], "handle", lambda _: answers)
    [message_id] = say(Noted())

    for _ in range(3):
        once(consumer)
        make_due()

    assert trail(message_id) == [(1, "retry", "HandlerBroke"), (2, "dead", "HandlerBroke")]


class _Once:
    """Raise an error the first time, then be the function."""

    def __init__(self, function: Callable[..., Any], error: Exception) -> None:
        self._function, self._error, self.left = function, error, 1

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.left:
            self.left -= 1
            raise self._error
        return self._function(*args, **kwargs)


def _with_state(sqlstate: str) -> Exception:
    return psycopg.errors.lookup(sqlstate)("as the server says it")
