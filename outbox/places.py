"""Which step of which saga a key of the outside world belongs to, and how far the outbox is with it.

A ledger of the outside world names what it did by our keys. From a key alone follows whether a command is still on
its way, was ever given, or has been undone: the outbox of a context knows its own commands, and needs no other
context for that.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from django.db import connections

from outbox import doorbell
from outbox.contracts import ACTION, COMPENSATION, GENERATION_MARK, Direction
from outbox.transactions import on_commit, require_transaction

_ID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_KEY = re.compile(f"({_ID})-({_ID})-(.+?)(-{COMPENSATION})?")

# Waiting: a command of this step, in either direction, has a delivery; a dead one has a person. Undone: its
# compensation is settled. Busy: something else is on its way for the order, which may yet give a command. Index:
# outbox_delivery_order, primary key of outbox_barrier, outbox_message_key.
_STANDINGS = """
SELECT u.key,
       EXISTS (SELECT FROM outbox_delivery d
               JOIN outbox_message m ON m.id = d.message_id AND m.time = d.message_time
               WHERE d.ordering_key = u.order_id AND d.destination = %s AND d.kind = 'command'
                 AND m.correlation_id = u.saga_id AND split_part(m.headers->>'step', %s, 1) = u.base),
       EXISTS (SELECT FROM outbox_barrier b
               WHERE b.saga_id = u.saga_id AND b.direction = 'compensation' AND b.settled
                 AND split_part(b.step, %s, 1) = u.base),
       EXISTS (SELECT FROM outbox_delivery d WHERE d.ordering_key = u.order_id AND d.dead_at IS NULL),
       (SELECT m.payload::text FROM outbox_message m
        WHERE m.ordering_key = u.order_id AND m.kind = 'command' AND m.correlation_id = u.saga_id
          AND m.headers->>'step' = u.step AND m.headers->>'direction' = u.direction
        ORDER BY m.sequence DESC LIMIT 1)
FROM unnest(%b::text[], %b::uuid[], %b::uuid[], %b::text[], %b::text[], %b::text[])
    AS u(key, order_id, saga_id, step, base, direction)
"""

# Only what rests: what is claimed keeps its lease, what is dead its person. Index: outbox_delivery_order.
_HASTEN = """
UPDATE outbox_delivery d SET available_at = now()
FROM outbox_message m
WHERE m.id = d.message_id AND m.time = d.message_time
  AND d.ordering_key = %s AND d.destination = %s AND d.kind = 'command'
  AND d.token IS NULL AND d.dead_at IS NULL AND d.available_at > now()
  AND m.correlation_id = %s AND m.headers->>'step' = %s AND m.headers->>'direction' = %s
RETURNING d.lane
"""


@dataclass(frozen=True, slots=True)
class Place:
    """One direction of one step of a saga, as its key names it."""

    order_id: UUID
    saga_id: UUID
    step: str
    direction: Direction

    @property
    def base(self) -> str:
        """The step's own name, whichever attempt of an operator's this is."""
        return self.step.partition(GENERATION_MARK)[0]

    @property
    def action_key(self) -> str:
        """The key of the step's action."""
        return f"{self.order_id}-{self.saga_id}-{self.base}"

    @property
    def compensation_key(self) -> str:
        """The key of the step's compensation: all who undo the step do so under it, and so only once."""
        return f"{self.action_key}-{COMPENSATION}"


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the outbox is with a place; `command` is the payload of what was asked, None if nothing ever was."""

    is_waiting: bool = False
    is_undone: bool = False
    is_busy: bool = False
    command: dict[str, Any] | None = None


NOWHERE = Standing()


def place_of(key: str) -> Place | None:
    """Return the place that a key names (see `Envelope.step_key`), or None when it is none of ours."""
    found = _KEY.fullmatch(key)
    if found is None:
        return None
    order_id, saga_id, step, undone = found.groups()
    return Place(UUID(order_id), UUID(saga_id), step, COMPENSATION if undone else ACTION)


def standings(*, keys: Collection[str], consumer: str, using: str = "default") -> dict[str, Standing]:
    """Return how far the outbox is with the place of each key; a key that is none of ours is left out.

    One statement, so all are as of one moment. What a place led to is written in the transaction that settles it: who
    reads these first and then the rows of the context misses nothing.
    """
    places = [(key, place) for key in keys if (place := place_of(key)) is not None]
    if not places:
        return {}
    columns = [(key, p.order_id, p.saga_id, p.step, p.base, p.direction) for key, p in places]
    with connections[using].cursor() as cursor:
        cursor.execute(
            _STANDINGS,
            [consumer, GENERATION_MARK, GENERATION_MARK, *(list(column) for column in zip(*columns, strict=True))],
        )
        return {
            key: Standing(waiting, undone, busy, None if command is None else msgspec.json.decode(command))
            for key, waiting, undone, busy, command in cursor.fetchall()
        }


def hasten(*, place: Place, consumer: str, using: str = "default") -> bool:
    """Make a command that rests before its next attempt due now; returns whether there was one.

    For who has heard how the last attempt ended. The caller's transaction.
    """
    require_transaction(using)
    with connections[using].cursor() as cursor:
        cursor.execute(_HASTEN, [place.order_id, consumer, place.saga_id, place.step, place.direction])
        lanes = {row[0] for row in cursor.fetchall()}
    if lanes:
        on_commit(lambda: doorbell.ring(lanes), using)
    return bool(lanes)
