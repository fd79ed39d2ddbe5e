"""The one way to say something: in the transaction of the change it tells of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec
from django.conf import settings
from django.db import connections
from django.utils.module_loading import import_string
from uuid_utils.compat import uuid7

from outbox import doorbell, sql
from outbox.consumers import CONSUMERS, Effectful
from outbox.contracts import COMPENSATION, Direction, Message, encode
from outbox.models import Lane
from outbox.transactions import on_commit, require_transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message on its way into the log. `subject` is the ordering key; `id` is drawn when not given."""

    data: Message
    source: str
    subject: UUID
    correlation_id: UUID | None = None
    causation_id: UUID | None = None
    traceparent: str | None = None
    step: str | None = None
    direction: Direction | None = None
    id: UUID | None = None


@dataclass(frozen=True)
class Routing:
    """Which destinations want which message, by wire type, and the class that reads each type."""

    types: Mapping[str, type[Message]]
    destinations: Mapping[str, tuple[str, ...]]
    _ways: dict[tuple[type[Message], Direction | None], tuple[tuple[str, str], ...]] = field(
        init=False, default_factory=dict, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        # While the table is imported, by one thread: msgspec crashes when two make what reads a type at once.
        for message_type in self.types.values():
            msgspec.json.Decoder(message_type)

    def ways(self, message_type: type[Message], direction: Direction | None) -> tuple[tuple[str, str], ...]:
        """Return (destination, lane) of every delivery of this type. Raises `UnroutedMessage` for an unknown one."""
        ways = self._ways.get((message_type, direction))
        if ways is None:
            if message_type.wire_type not in self.destinations:
                raise UnroutedMessage(message_type.wire_type)
            ways = self._ways[message_type, direction] = tuple(
                (name, lane_of(destination=name, message_type=message_type, direction=direction).value)
                for name in self.destinations[message_type.wire_type]
            )
        return ways


_routing: Routing | None = None


def routing() -> Routing:
    """Return the routing table that `settings.OUTBOX_ROUTING` names."""
    global _routing  # noqa: PLW0603 - read once: the table is a constant of the process
    if _routing is None:
        _routing = import_string(settings.OUTBOX_ROUTING)
    return _routing


def publish(messages: Sequence[Outgoing], *, settles: Sequence[int] = (), using: str = "default") -> list[UUID]:
    """Write messages and their deliveries with the caller's transaction, and ring when it commits.

    `settles` are the deliveries that a relay is done with by this. Returns the message ids in order. One statement
    however many messages there are. Raises `OutsideTransaction` when no transaction is open, `UnroutedMessage` when
    the routing table does not know a type.
    """
    require_transaction(using)
    if not messages:
        return []
    ids = [message.id or uuid7() for message in messages]
    log, deliveries, lanes = _rows(messages, ids)
    with connections[using].cursor() as cursor:
        cursor.execute(sql.PUBLISH, [*log, list(settles), *deliveries])
    if lanes:
        destinations = set(zip(deliveries[_LANE], deliveries[_DESTINATION], strict=True))
        on_commit(lambda: doorbell.ring(lanes, destinations), using)
    return ids


def lane_of(*, destination: str, message_type: type[Message], direction: Direction | None) -> Lane:
    """Return the lane that delivers this type to this destination."""
    if direction == COMPENSATION and message_type.kind == "command":
        return Lane.COMPENSATIONS
    if destination in CONSUMERS and isinstance(CONSUMERS[destination].handlers.get(message_type), Effectful):
        return Lane.EFFECTS
    return Lane.RELAY


class UnroutedMessage(LookupError):
    """No row of the routing table names this type; add it to config/routing.py."""


def _rows(messages: Sequence[Outgoing], ids: Sequence[UUID]) -> tuple[list[Any], list[Any], set[str]]:
    known = routing()
    log: list[tuple[Any, ...]] = []
    deliveries: list[tuple[Any, ...]] = []
    lanes: set[str] = set()
    for message, message_id in zip(messages, ids, strict=True):
        data = message.data
        kind, wire_type = data.kind, data.wire_type
        headers: dict[str, str] = {}
        if message.traceparent:
            headers["traceparent"] = message.traceparent
        if message.step:
            headers["step"] = message.step
            headers["direction"] = str(message.direction)
        log.append(
            (
                message_id,
                kind,
                wire_type,
                data.version,
                message.source,
                message.subject,
                message.correlation_id,
                message.causation_id,
                _encode_headers(headers).decode(),
                encode(data).decode(),
            )
        )
        for destination, lane in known.ways(type(data), message.direction):
            lanes.add(lane)
            deliveries.append((message_id, destination, lane, kind, wire_type, message.subject))
    return (
        [list(column) for column in zip(*log, strict=True)],
        [list(column) for column in zip(*deliveries, strict=True)] if deliveries else [[]] * 6,
        lanes,
    )


# Where `_rows` puts these columns.
_DESTINATION, _LANE = 1, 2
_encode_headers = msgspec.json.Encoder().encode
