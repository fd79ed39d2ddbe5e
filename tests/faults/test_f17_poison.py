"""F17: poison. Whatever is wrong with a message, its neighbours succeed, it is dead with its error, nothing loops."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from outbox.consumers import Consumer
from outbox.contracts import Envelope, MessageDeadLettered
from outbox.models import Delivery, Lane, Message
from outbox.unclaimed import PATIENCE, bury_unclaimed
from tests.messaging import Act, Bank, Clerk, Noted, Undo, Wiring, dead, drain, execute, make_due, say, trail, waiting
from tests.messaging import wiring as wiring  # noqa: PLC0414 - a fixture

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["outbox"])

NEIGHBORS = 99
POISON = 50
# More rounds than any message has attempts.
ROUNDS = 12


def write(
    wire_type: str,
    *,
    payload: str = "{}",
    headers: str = "{}",
    kind: str = "event",
    lane: str = "relay",
    saga_id: UUID | None = None,
    destination: str = "tester",
) -> UUID:
    """Put a message into the log and the queue as no publisher of ours does."""
    message_id = uuid7()
    key = uuid7()
    execute(
        "WITH said AS (INSERT INTO outbox_message (id, kind, type, version, source, ordering_key, correlation_id,"
        " headers, payload) VALUES (%s, %s, %s, 1, 'stranger', %s, %s, %s::jsonb, %s::jsonb) RETURNING id, time)"
        " INSERT INTO outbox_delivery (message_id, message_time, destination, lane, kind, type, ordering_key)"
        " SELECT id, time, %s, %s, %s, %s, %s FROM said",
        message_id, kind, wire_type, key, saga_id, headers, payload, destination, lane, kind, wire_type, key,
    )  # fmt: skip
    return message_id


def deliver_all() -> None:
    """Run every lane, and let every rest be over, until each message is delivered or dead."""
    for _ in range(ROUNDS):
        drain()
        if not Delivery.objects.filter(dead_at__isnull=True).exists():
            return
        make_due()
    raise AssertionError(f"still tried after {ROUNDS} rounds: {Delivery.objects.filter(dead_at__isnull=True).values()}")


def assert_dead(message_id: UUID, error_class: str, attempts: int) -> None:
    """Check that this message alone is dead, that its trail says why, and that a case was asked for, once."""
    assert dead() == waiting() == [message_id]
    row = Delivery.objects.get()
    assert (row.error_class, row.attempts) == (error_class, attempts)
    assert row.error
    decisions = ["retry"] * (attempts - 1) + ["dead"]
    assert trail(message_id) == [(n, d, error_class) for n, d in enumerate(decisions, 1)]
    [told] = Message.objects.filter(type=MessageDeadLettered.wire_type)
    assert (told.payload["message_id"], told.payload["error_class"]) == (str(message_id), error_class)


def among_neighbors(poison: Callable[[], UUID], neighbor: Callable[[int], object]) -> UUID:
    """Say a hundred messages at once, the poison in their middle."""
    for number in range(POISON):
        neighbor(number)
    message_id = poison()
    for number in range(POISON, NEIGHBORS):
        neighbor(number)
    return message_id


UNREADABLE: dict[str, tuple[dict[str, Any], str | None]] = {
    "a number where an object belongs": ({"payload": "42"}, "ValidationError"),
    "a field of another type": ({"payload": '{"number": "x"}'}, "ValidationError"),
    "deeper than anything can read": ({"payload": "[" * 3000 + "]" * 3000}, None),
    "deep below an unknown field": ({"payload": '{"x":' + "[" * 3000 + "]" * 3000 + "}"}, None),
    "headers that are a list": ({"headers": "[1]"}, "ValidationError"),
    "headers that are null": ({"headers": "null"}, "ValidationError"),
    "a header that is a number": ({"headers": '{"step": 1}'}, "ValidationError"),
    "a direction that does not exist": (
        {"headers": '{"step": "a-step", "direction": "sideways"}'},
        "ValueError",
    ),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_f17_what_cannot_be_read_is_dead_at_once_and_its_neighbors_succeed(wiring: Wiring, what: str) -> None:
    """No attempt makes it readable, so it gets one; the other 99 of its batch are handled in their order."""
    clerk = Clerk()
    wiring.consumer({Noted: clerk.joined()})
    columns, error_class = UNREADABLE[what]

    poison = among_neighbors(lambda: write("test.noted", **columns), lambda n: say(Noted(number=n)))
    deliver_all()

    assert clerk.numbers == list(range(NEIGHBORS))
    assert_dead(poison, error_class or Delivery.objects.get().error_class, 1)


@pytest.mark.parametrize("what", UNREADABLE)
def test_f17_what_cannot_be_read_is_never_sent_to_the_outside_world(wiring: Wiring, what: str) -> None:
    """The same where messages are claimed with a lease and called outside of any transaction."""
    bank = Bank()
    wiring.consumer({Act: bank.effectful()})
    columns, error_class = UNREADABLE[what]

    poison = among_neighbors(
        lambda: write("test.act", kind="command", lane="effects", saga_id=uuid7(), **columns),
        lambda n: say(Act(number=n), saga_id=uuid7(), step="act"),
    )
    deliver_all()

    assert sorted(call.data.number for call in bank.calls) == list(range(NEIGHBORS))
    assert_dead(poison, error_class or Delivery.objects.get().error_class, 1)


def test_f17_a_type_that_no_release_knows_is_dead_and_its_neighbors_succeed(wiring: Wiring) -> None:
    """Its handler is registered, so it is claimed; its payload cannot be read any more."""
    clerk = Clerk()
    wiring.consumer({Noted: clerk.joined(), Undo: clerk.joined()})
    wiring.forget(Undo)

    poison = among_neighbors(lambda: write("test.undo", kind="command"), lambda n: say(Noted(number=n)))
    deliver_all()

    assert clerk.numbers == list(range(NEIGHBORS))
    assert_dead(poison, "LookupError", 1)


def test_f17_a_type_that_nobody_handles_does_not_wait_unseen(wiring: Wiring) -> None:
    """No relay asks for it. It rests for as long as a rolling restart may last, then it is dead with its case."""
    clerk = Clerk()
    wiring.consumer({Noted: clerk.joined()})
    poison = among_neighbors(lambda: write("test.nobody"), lambda n: say(Noted(number=n)))
    drain()
    assert clerk.numbers == list(range(NEIGHBORS))
    assert waiting() == [poison]

    young = bury_unclaimed()
    old = bury_unclaimed(older_than=timedelta(0))

    assert (young, old, bury_unclaimed(older_than=timedelta(0))) == (0, 1, 0)
    assert timedelta(minutes=5) < PATIENCE < timedelta(hours=1)
    assert_dead_of_no_handler(poison)


def assert_dead_of_no_handler(poison: UUID) -> None:
    """Check what an unclaimed message ends as: no attempt was made at it."""
    assert dead() == waiting() == [poison]
    assert trail(poison) == [(1, "dead", "NoHandler")]
    [told] = Message.objects.filter(type=MessageDeadLettered.wire_type)
    assert told.payload["error"] == "tester has no handler for 'test.nobody'"


def broken(number: int) -> Callable[[Envelope[Any]], None]:
    """Return an answer that breaks at one number."""

    def answer(envelope: Envelope[Any]) -> None:
        if envelope.data.number == number:
            raise KeyError("a bug")

    return answer


def test_f17_a_handler_that_always_raises_spares_the_neighbors(wiring: Wiring) -> None:
    """The batch is cut in two until the guilty one stands alone; it is tried as often as a bug is, and is dead."""
    clerk = Clerk(broken(POISON))
    wiring.consumer({Noted: clerk.joined()})

    poison = say(*(Noted(number=n) for n in range(NEIGHBORS + 1)))[POISON]
    deliver_all()

    succeeded = {n for batch in clerk.batches for n in (e.data.number for e in batch)} - {POISON}
    assert succeeded == set(range(NEIGHBORS + 1)) - {POISON}
    assert_dead(poison, "KeyError", 2)


@pytest.mark.parametrize("part", ["call", "record"])
def test_f17_a_call_or_a_record_that_always_raises_spares_the_neighbors(wiring: Wiring, part: str) -> None:
    """The same with the outside world: the neighbours' outcomes are recorded, the poison's never is."""
    bank = Bank(broken(POISON)) if part == "call" else Bank()
    if part == "record":
        bank.outcome = lambda envelope, _: broken(POISON)(envelope)
    consumer: Consumer = wiring.consumer({Act: bank.effectful()})

    poison = say(*(Act(number=n) for n in range(NEIGHBORS + 1)))[POISON]
    deliver_all()

    assert {e.data.number for e, _ in bank.recorded} - {POISON} == set(range(NEIGHBORS + 1)) - {POISON}
    assert Delivery.objects.get().destination == consumer.name
    assert_dead(poison, "KeyError", 2)


def test_f17_a_batch_of_nothing_but_poison_ends(wiring: Wiring) -> None:
    """All hundred are dead with a trail each; none was tried more often than its policy says."""
    clerk = Clerk(lambda _: (_ for _ in ()).throw(ValueError("a bug")))
    wiring.consumer({Noted: clerk.joined()})

    said = say(*(Noted(number=n) for n in range(NEIGHBORS + 1)))
    deliver_all()

    assert dead() == said
    assert all(trail(one) == [(1, "retry", "ValueError"), (2, "dead", "ValueError")] for one in said)
    assert Message.objects.filter(type=MessageDeadLettered.wire_type).count() == len(said)


def test_f17_poison_holds_up_only_its_own_key(wiring: Wiring) -> None:
    """A dead event blocks what comes after it under its key, and nothing else; once redriven it would go first."""
    clerk = Clerk(broken(1))
    wiring.consumer({Noted: clerk.joined()})
    key = uuid7()

    poison, behind = say(Noted(number=1), Noted(number=2), key=key)
    say(Noted(number=3))
    for _ in range(3):
        drain(Lane.RELAY)
        make_due()

    assert clerk.numbers[-1] == 3 or 3 in clerk.numbers
    assert 2 not in clerk.numbers
    assert (dead(), waiting()) == ([poison], [poison, behind])
    assert json.loads(json.dumps(trail(poison)))[-1][1] == "dead"
