"""The words every wall between contexts is crossed with: commands, events and the envelope around them.

Pure Python: this file and the `contracts.py` of a context are what travels with a service that moves out.
Payloads are frozen msgspec structs, the envelope uses CloudEvents 1.0 attribute names (`id`, `source`, `type`,
`subject`, `time`) with the extensions `correlationid`, `causationid` and `traceparent`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Generic, Literal, TypeVar
from uuid import UUID

import msgspec

Kind = Literal["command", "event"]
Direction = Literal["action", "compensation"]

ACTION: Direction = "action"
COMPENSATION: Direction = "compensation"

# Between a step's name and the number of the attempt that an operator asked for after a confirmed failure.
GENERATION_MARK = "~"


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every payload. Unknown fields are accepted when read, so that a field can be added in peace."""

    wire_type: ClassVar[str]
    version: ClassVar[int] = 1
    kind: ClassVar[Kind]


class Event(Message, frozen=True, kw_only=True):
    """State a fact to anyone. A reply is an event whose cause is a command."""

    kind: ClassVar[Kind] = "event"


class FailureEvent(Event, frozen=True, kw_only=True):
    """State that a command was not carried out.

    `reason` is a stable code, `detail` is for people. `definite` is False when the outside world may have acted
    all the same (a timed-out call): then the step itself is compensated too.
    """

    reason: str
    detail: str = ""
    definite: bool = True


class Command(Message, frozen=True, kw_only=True):
    """Ask one owner for one thing. `success` and `failure` name the events that answer it."""

    kind: ClassVar[Kind] = "command"
    success: ClassVar[type[Event]]
    failure: ClassVar[type[FailureEvent] | None] = None


class MessageDeadLettered(Event, frozen=True, kw_only=True):
    """State that a message could not be handled and that its attempts are spent; a person must look at it."""

    wire_type: ClassVar[str] = "message.dead_lettered"

    message_id: UUID
    message_type: str
    message_kind: Kind
    destination: str
    attempts: int
    error_class: str
    error: str
    fingerprint: str


M_co = TypeVar("M_co", bound=Message, covariant=True)


class Envelope(msgspec.Struct, Generic[M_co], frozen=True, kw_only=True):
    """A message as a handler receives it.

    `subject` is the ordering key: the order id. `correlation_id` is the saga, `causation_id` the message that
    caused this one, `claimed_at` the database's clock when the batch was claimed. `step` and `direction` say which
    part of the saga a command belongs to; a reply carries the same pair. `tried` says that an earlier try may have
    been made although it does not count, as in an outage.
    """

    id: UUID
    source: str
    subject: UUID
    time: datetime
    data: M_co
    attempt: int = 1
    tried: bool = False
    claimed_at: datetime | None = None
    correlation_id: UUID | None = None
    causation_id: UUID | None = None
    traceparent: str | None = None
    step: str | None = None
    direction: Direction | None = None

    @property
    def is_retry(self) -> bool:
        """Whether the outside world may have heard of this step: then it is asked by key before anything else."""
        return self.attempt > 1 or self.tried

    @property
    def step_key(self) -> str:
        """The idempotency key for the outside world: the same for every retry of this step and direction."""
        return step_key(subject=self.subject, saga_id=self.correlation_id, step=self.step, direction=self.direction)

    @property
    def action_key(self) -> str:
        """Of a compensation: the `step_key` of the action that it undoes, however often an operator has it sent."""
        step = (self.step or "").partition(GENERATION_MARK)[0]
        return f"{self.subject}-{self.correlation_id}-{step}"


def step_key(*, subject: UUID, saga_id: UUID | None, step: str | None, direction: Direction | None) -> str:
    """Return the idempotency key for the outside world of one step on the wire, in one direction."""
    key = f"{subject}-{saga_id}-{step}"
    return key if direction != COMPENSATION else f"{key}-{COMPENSATION}"


def trace_of(traceparent: str) -> str:
    """Return the id of the trace that a `traceparent` names; empty if it names none."""
    parts = traceparent.split("-")
    return parts[1] if len(parts) == 4 else ""


def encode(message: Message) -> bytes:
    """Return the payload as JSON bytes."""
    return _encoder.encode(message)


def decode(message_type: type[M_co], payload: bytes | str) -> M_co:
    """Return the typed payload. Raises `msgspec.ValidationError` or `msgspec.DecodeError` when it does not fit."""
    decoder = _decoders.get(message_type)
    if decoder is None:
        decoder = _decoders.setdefault(message_type, msgspec.json.Decoder(message_type))
    return decoder.decode(payload)  # type: ignore[no-any-return]


_encoder = msgspec.json.Encoder()
_decoders: dict[type[Message], msgspec.json.Decoder[Any]] = {}
