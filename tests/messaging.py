"""Messages, consumers and a way to wire them to the relay, for the tests of messaging itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

import psycopg
import pytest
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from uuid_utils.compat import uuid7

from outbox import publishing, relay
from outbox.consumers import CONSUMERS, Consumer, Effectful, Handler, Joined, Outcome, RetryPolicy
from outbox.contracts import ACTION, Command, Direction, Envelope, Event, FailureEvent, Message, MessageDeadLettered
from outbox.models import Attempt, Delivery, InboxEntry, Lane, TokenBucket
from outbox.publishing import Outgoing, Routing, publish

# A wait that does not end within a test.
LONG = timedelta(hours=1)
# Two attempts with a long rest between them.
TWICE = RetryPolicy(attempts=2, bug_attempts=2, base=LONG, cap=LONG)


class Noted(Event, frozen=True, kw_only=True):
    """Something was noted."""

    wire_type: ClassVar[str] = "test.noted"
    number: int = 0


class Garbled(Event, frozen=True, kw_only=True):
    """What a broken publisher says in the name of `Noted`."""

    wire_type: ClassVar[str] = "test.noted"
    number: str = "not a number"


class Acted(Event, frozen=True, kw_only=True):
    """The deed is done."""

    wire_type: ClassVar[str] = "test.acted"
    number: int = 0


class ActFailed(FailureEvent, frozen=True, kw_only=True):
    """The deed is not done."""

    wire_type: ClassVar[str] = "test.act_failed"


class Undone(Event, frozen=True, kw_only=True):
    """The deed is undone."""

    wire_type: ClassVar[str] = "test.undone"


class Act(Command, frozen=True, kw_only=True):
    """Ask for a deed."""

    wire_type: ClassVar[str] = "test.act"
    success: ClassVar[type[Event]] = Acted
    failure: ClassVar[type[FailureEvent] | None] = ActFailed
    number: int = 0


class Undo(Command, frozen=True, kw_only=True):
    """Ask to undo it."""

    wire_type: ClassVar[str] = "test.undo"
    success: ClassVar[type[Event]] = Undone
    number: int = 0


MESSAGES: tuple[type[Message], ...] = (Noted, Acted, ActFailed, Undone, Act, Undo, MessageDeadLettered)


class Clerk:
    """A joined handler that remembers what it was given; `answer` decides the outcome of each message."""

    def __init__(self, answer: Callable[[Envelope[Any]], Outcome] = lambda _: None) -> None:
        self.answer = answer
        self.batches: list[list[Envelope[Any]]] = []

    def __call__(self, batch: Sequence[Envelope[Any]]) -> list[Outcome]:
        """Handle a batch."""
        self.batches.append(list(batch))
        return [self.answer(envelope) for envelope in batch]

    def joined(self, policy: RetryPolicy = TWICE) -> Joined:
        """Return the handler to register."""
        return Joined(handle=self, policy=policy)

    @property
    def numbers(self) -> list[int]:
        """The numbers it was given, in order."""
        return [envelope.data.number for batch in self.batches for envelope in batch]


class Bank:
    """An effectful handler's outside world: it remembers calls and records, and may be made to behave."""

    def __init__(self, behave: Callable[[Envelope[Any]], Any] = lambda _: "yes") -> None:
        self.behave = behave
        self.calls: list[Envelope[Any]] = []
        self.recorded: list[tuple[Envelope[Any], Any]] = []
        self.outcome: Callable[[Envelope[Any], Any], Outcome] = _done
        self._lock = threading.Lock()

    def call(self, envelope: Envelope[Any]) -> Any:
        """Be called, in a thread of the pump's."""
        with self._lock:
            self.calls.append(envelope)
        return self.behave(envelope)

    def record(self, answers: Sequence[tuple[Envelope[Any], Any]]) -> list[Outcome]:
        """Record answers."""
        self.recorded += answers
        return [self.outcome(envelope, answer) for envelope, answer in answers]

    def effectful(
        self,
        policy: RetryPolicy = TWICE,
        give_up: Callable[[Envelope[Any], str], Event | None] | None = None,
    ) -> Effectful:
        """Return the handler to register."""
        return Effectful(call=self.call, record=self.record, give_up=give_up, policy=policy)


def _done(envelope: Envelope[Any], _answer: Any) -> Outcome:
    match envelope.data:
        case Act(number=number):
            return Acted(number=number)
        case Undo():
            return Undone()
        case _:
            return None


class Wiring:
    """The consumers and the routing table of one test, in the place of the product's."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self._consumers: dict[str, Consumer] = {}
        self._types = {message.wire_type: message for message in MESSAGES}
        self._connect()

    def consumer(
        self, handlers: Mapping[type[Message], Handler], *, name: str = "tester", deduplicates: bool = True
    ) -> Consumer:
        """Register a consumer, to which all it handles is routed."""
        consumer = Consumer(name, handlers, deduplicates)
        self._consumers[name] = consumer
        self._connect()
        return consumer

    def forget(self, message: type[Message]) -> None:
        """Let this release know nothing of a type that was published before."""
        del self._types[message.wire_type]
        self._connect()

    def _connect(self) -> None:
        destinations = {
            wire_type: tuple(name for name, consumer in self._consumers.items() if kind in consumer.handlers)
            for wire_type, kind in self._types.items()
        }
        self._patch.setattr(publishing, "_routing", Routing(types=dict(self._types), destinations=destinations))
        self._patch.setattr(CONSUMERS, "_consumers", dict(self._consumers))


@pytest.fixture
def wiring(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Wiring:
    """Put the test's own consumers in the place of the product's."""
    refill_bucket()
    return Wiring(monkeypatch)


def refill_bucket(tokens: float = 20) -> None:
    """Fill the bucket of compensations, which a flush between two tests takes away."""
    TokenBucket.objects.update_or_create(name="compensations", defaults={"tokens": tokens, "refilled_at": Now()})


def say(
    *messages: Message,
    key: UUID | None = None,
    saga_id: UUID | None = None,
    step: str | None = None,
    direction: Direction | None = None,
) -> list[UUID]:
    """Publish in a transaction of its own; without a key each message has one of its own."""
    if step is not None:
        direction = direction or ACTION
    with transaction.atomic():
        return publish(
            [
                Outgoing(
                    data=message,
                    source="test",
                    subject=key or uuid7(),
                    correlation_id=saga_id,
                    step=step,
                    direction=direction,
                )
                for message in messages
            ]
        )


def drain(*lanes: Lane) -> int:
    """Run the relay of these lanes, of all if none is named, until a round over them finds nothing due."""
    total = 0
    while done := sum(relay.run(lane=lane, linger=0) for lane in lanes or Lane):
        total += done
    return total


def make_due() -> None:
    """Let the rests and leases of all living deliveries be over."""
    Delivery.objects.filter(dead_at__isnull=True).update(available_at=Now() - timedelta(seconds=1))


def waiting() -> list[UUID]:
    """Return the messages with a delivery, in its order."""
    return list(Delivery.objects.order_by("id").values_list("message_id", flat=True))


def dead() -> list[UUID]:
    """Return the messages with a dead delivery, in its order."""
    return list(Delivery.objects.filter(dead_at__isnull=False).order_by("id").values_list("message_id", flat=True))


def handled(consumer: str = "tester") -> set[UUID]:
    """Return the events in a consumer's inbox."""
    return set(InboxEntry.objects.filter(consumer=consumer).values_list("message_id", flat=True))


def trail(message_id: UUID) -> list[tuple[int, str, str]]:
    """Return the failed attempts of a message: number, decision, class of error."""
    rows = Attempt.objects.filter(message_id=message_id).order_by("id")
    return list(rows.values_list("attempt", "decision", "error_class"))


def rest_of(message_id: UUID) -> timedelta:
    """Return how far in the future a message's delivery is due, by the database's clock."""
    row = Delivery.objects.annotate(rest=F("available_at") - Now()).get(message_id=message_id)
    return row.rest  # type: ignore[no-any-return]


def execute(statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Run a statement; return its rows."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def second_connection() -> psycopg.Connection[Any]:
    """Return a connection to the test's database beside Django's."""
    wanted = ("host", "port", "user", "password", "dbname")
    parameters = connection.get_connection_params()
    return psycopg.connect(**{name: parameters[name] for name in wanted if name in parameters})
