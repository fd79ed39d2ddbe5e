"""Joined delivery when something breaks in the middle: all of a batch rolls back, all of it is done later, once."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import OperationalError

from outbox import joined
from outbox.consumers import Consumer, Outcome, Retry, Wait
from outbox.contracts import Envelope
from outbox.joined import deliver
from outbox.models import BarrierEntry, Delivery, InboxEntry, Lane, Message
from outbox.outcomes import settle
from tests.messaging import (
    LONG,
    Act,
    Acted,
    ActFailed,
    Clerk,
    Noted,
    Wiring,
    dead,
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


class PowerCut(BaseException):
    """The process ends here; no handler of exceptions has a say."""


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
