"""Effectful delivery when calls or records fail: what is retried, what is given up, what is dead."""

from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError
from pytest_django import Settings
from uuid_utils.compat import uuid7

from outbox.consumers import Outcome, RetryPolicy, TransientError
from outbox.contracts import Envelope, Event
from outbox.effects import LOST_TRIES, EffectPump
from outbox.models import BarrierEntry, InboxEntry, Lane, Message
from tests.messaging import (
    LONG,
    TWICE,
    Act,
    Acted,
    ActFailed,
    Bank,
    Wiring,
    dead,
    drain,
    execute,
    handled,
    make_due,
    say,
    trail,
    waiting,
)

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["outbox"])


def answers_to(message_id: UUID) -> list[str]:
    return list(Message.objects.filter(causation_id=message_id).values_list("type", flat=True))


def raising(error: Exception) -> Any:
    def behave(_: Envelope[Any]) -> object:
        raise error

    return behave


def give_up(_: Envelope[Any], error: str) -> Event:
    return ActFailed(reason="unavailable", detail=error, definite=False)


def claim(pump: EffectPump, wiring_consumer: Any, *, lane: Lane = Lane.EFFECTS) -> int:
    types = [kind.wire_type for kind in wiring_consumer.handlers]
    return pump.claim(consumer=wiring_consumer, lane=lane, types=types, limit=100)


@pytest.mark.parametrize("busy", [TransientError("busy"), OperationalError("server is gone")])
def test_trouble_that_passes_is_retried_until_the_attempts_are_spent(wiring: Wiring, busy: Exception) -> None:
    bank = Bank(raising(busy))
    wiring.consumer({Act: bank.effectful(RetryPolicy(attempts=3, bug_attempts=1, base=LONG, cap=LONG))})
    [message_id] = say(Act(), saga_id=uuid7(), step="act")

    for _ in range(5):
        drain(Lane.EFFECTS)
        make_due()

    assert [envelope.attempt for envelope in bank.calls] == [1, 2, 3]
    name = type(busy).__name__
    assert trail(message_id) == [(1, "retry", name), (2, "retry", name), (3, "dead", name)]
    assert dead() == [message_id]
    assert bank.recorded == []


def test_a_bug_in_a_call_has_attempts_of_its_own(wiring: Wiring) -> None:
    bank = Bank(raising(KeyError("x")))
    wiring.consumer({Act: bank.effectful(RetryPolicy(attempts=9, bug_attempts=2, base=LONG, cap=LONG), give_up)})
    [message_id] = say(Act())

    for _ in range(4):
        drain(Lane.EFFECTS)
        make_due()

    assert trail(message_id) == [(1, "retry", "KeyError"), (2, "dead", "KeyError")]
    assert answers_to(message_id) == ["message.dead_lettered"]


def test_a_bug_in_a_record_fails_alone_and_its_neighbours_are_recorded(wiring: Wiring) -> None:
    bank = Bank()

    def record(envelope: Envelope[Any], _: Any) -> Outcome:
        InboxEntry.objects.create(consumer="written by record", message_id=envelope.id)
        if envelope.data.number == 4:
            raise ValueError("cannot write 4")
        return Acted()

    bank.outcome = record
    consumer = wiring.consumer({Act: bank.effectful()})
    ids = say(*(Act(number=number) for number in range(10)))
    pump = EffectPump()
    claim(pump, consumer)
    pump.close()

    assert waiting() == [ids[4]]
    assert trail(ids[4]) == [(1, "retry", "ValueError")]
    assert handled("written by record") == set(ids) - {ids[4]}
    make_due()
    drain(Lane.EFFECTS)
    assert dead() == [ids[4]]
    assert len([e for e in bank.calls if e.data.number == 4]) == 2


def test_a_record_that_always_exceeds_a_limit_of_the_server_ends_as_a_dead_letter(wiring: Wiring) -> None:
    bank = Bank()

    def too_slow(envelope: Envelope[Any], _: Any) -> Outcome:
        if envelope.data.number == 4:
            execute("SET LOCAL statement_timeout = 10")
            execute("SELECT pg_sleep(1)")
        return Acted()

    bank.outcome = too_slow
    wiring.consumer({Act: bank.effectful()})
    ids = say(*(Act(number=number) for number in range(10)))

    for _ in range(3):
        drain(Lane.EFFECTS)
        make_due()

    assert waiting() == dead() == [ids[4]]


def test_a_record_that_the_database_refused_is_tried_again_without_a_second_call(wiring: Wiring) -> None:
    bank = Bank()
    bank.outcome = raising_once = _RaisingOnce(OperationalError("server is gone"))
    wiring.consumer({Act: bank.effectful()})
    [message_id] = say(Act(), saga_id=uuid7(), step="act")

    drain(Lane.EFFECTS)

    assert ([envelope.attempt for envelope in bank.calls], raising_once.left) == ([1], 0)
    assert (waiting(), trail(message_id), answers_to(message_id)) == ([], [], ["test.acted"])


def test_a_record_that_the_database_refuses_beyond_the_lease_is_asked_for_again(
    wiring: Wiring, settings: Settings
) -> None:
    settings.RELAY_LEASE_SECONDS = 1
    bank = Bank()

    def outcome(*_: Any) -> Outcome:
        if len(bank.calls) == 1:
            raise OperationalError("server is gone")
        return Acted()

    bank.outcome = outcome
    wiring.consumer({Act: bank.effectful()})
    [message_id] = say(Act(), saga_id=uuid7(), step="act")

    drain(Lane.EFFECTS)
    make_due()
    drain(Lane.EFFECTS)

    assert [envelope.attempt for envelope in bank.calls] == [1, 2]
    assert (waiting(), trail(message_id), answers_to(message_id)) == ([], [], ["test.acted"])


def test_giving_up_answers_for_the_message_settles_its_place_and_keeps_the_trail(wiring: Wiring) -> None:
    bank = Bank(raising(TransientError("busy")))
    wiring.consumer({Act: bank.effectful(TWICE, give_up)})
    saga_id = uuid7()
    [message_id] = say(Act(number=1), saga_id=saga_id, step="act")

    for _ in range(3):
        drain(Lane.EFFECTS)
        make_due()

    assert waiting() == []
    assert trail(message_id) == [(1, "retry", "TransientError"), (2, "given_up", "TransientError")]
    reply = Message.objects.get(causation_id=message_id)
    assert (reply.type, reply.payload["detail"], reply.payload["definite"]) == ("test.act_failed", "busy", False)
    assert (reply.correlation_id, reply.headers) == (saga_id, {"step": "act", "direction": "action"})
    assert BarrierEntry.objects.get().settled
    _deliver_again(message_id)
    drain(Lane.EFFECTS)
    assert len(bank.calls) == 2


def test_who_may_give_up_and_does_not_leaves_a_dead_letter(wiring: Wiring) -> None:
    bank = Bank(raising(TransientError("busy")))
    wiring.consumer({Act: bank.effectful(TWICE, lambda *_: None)})
    [message_id] = say(Act())

    for _ in range(3):
        drain(Lane.EFFECTS)
        make_due()

    assert dead() == [message_id]


def test_a_message_that_takes_its_workers_with_it_is_given_up_in_the_end(wiring: Wiring) -> None:
    """Each claim is followed by the death of the process: no outcome is ever recorded."""
    bank = Bank()
    consumer = wiring.consumer({Act: bank.effectful(TWICE, give_up)})
    saga_id = uuid7()
    [message_id] = say(Act(), saga_id=saga_id, step="act")
    for _ in range(TWICE.attempts + LOST_TRIES):
        pump = EffectPump()
        assert claim(pump, consumer) == 1
        pump._in_flight.clear()
        make_due()
    calls = len(bank.calls)

    drain(Lane.EFFECTS)

    assert len(bank.calls) == calls
    assert waiting() == []
    assert trail(message_id) == [(TWICE.attempts + LOST_TRIES + 1, "given_up", "NoOutcome")]
    assert answers_to(message_id) == ["test.act_failed"]
    assert BarrierEntry.objects.get().settled


def test_an_error_whose_text_the_database_cannot_hold_is_an_error_like_any_other(wiring: Wiring) -> None:
    bank = Bank(raising(TransientError("answer: \x00\ud800")))
    wiring.consumer({Act: bank.effectful(TWICE, give_up)})
    [message_id] = say(Act())

    for _ in range(3):
        drain(Lane.EFFECTS)
        make_due()

    assert trail(message_id) == [(1, "retry", "TransientError"), (2, "given_up", "TransientError")]
    assert Message.objects.get(causation_id=message_id).payload["detail"] == "answer: ??"


def _deliver_again(message_id: object) -> None:
    execute(
        "INSERT INTO outbox_delivery (message_id, message_time, destination, lane, kind, type, ordering_key)"
        " SELECT id, time, 'tester', 'effects', kind, type, ordering_key FROM outbox_message WHERE id = %s",
        message_id,
    )


class _RaisingOnce:
    """An outcome that fails the first time."""

    def __init__(self, error: Exception) -> None:
        self._error, self.left = error, 1

    def __call__(self, *_: Any) -> Outcome:
        if self.left:
            self.left -= 1
            raise self._error
        return Acted()
