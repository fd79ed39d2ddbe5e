"""What the outbox knows of one order, for the desk: calls, what still waits and behind what, how far each step came."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connections
from django.db.models import Case, F, QuerySet, When

from outbox.models import Delivery, GatewayCall

# What still waits for one order is a handful. More than this is another kind of trouble, and its list says the rest.
MOST_WAITING = 1_000

# One row per saga, step on the wire and direction. Index: outbox_message_key, and that of attempts by key.
_LEGS = """
SELECT m.correlation_id, m.headers->>'step', m.headers->>'direction',
       min(m.time) FILTER (WHERE m.kind = 'command'),
       max(m.time) FILTER (WHERE m.kind = 'event' AND m.type <> 'message.dead_lettered'),
       (array_agg(m.type ORDER BY m.sequence DESC)
           FILTER (WHERE m.kind = 'event' AND m.type <> 'message.dead_lettered'))[1],
       coalesce(sum(a.failed) FILTER (WHERE m.kind = 'command'), 0)::int
FROM outbox_message m
LEFT JOIN (
    SELECT message_id, count(*) AS failed FROM outbox_attempt WHERE ordering_key = %s GROUP BY message_id
) a ON a.message_id = m.id
WHERE m.ordering_key = %s AND m.correlation_id IS NOT NULL AND jsonb_exists(m.headers, 'step')
GROUP BY 1, 2, 3
"""


@dataclass(frozen=True, slots=True)
class Leg:
    """One direction of one step of a saga: when its command was given, when and how it was last answered, failed tries.

    `answer` is the wire type of the reply.
    """

    saga_id: UUID
    wire_step: str
    direction: str
    asked_at: datetime | None
    answered_at: datetime | None
    answer: str | None
    failed_tries: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """A delivery that is still to be made: `due_at` is None for a dead one; `behind` is what goes first."""

    delivery: Delivery
    due_at: datetime | None
    behind: Delivery | None


def calls_of(*, ordering_key: UUID, using: str = "default") -> QuerySet[GatewayCall]:
    """Return the calls of the outside world for one order."""
    return GatewayCall.objects.using(using).filter(ordering_key=ordering_key)


def legs_of(*, ordering_key: UUID, using: str = "default") -> list[Leg]:
    """Return how far each direction of each step of the order's sagas came, as the log tells it."""
    with connections[using].cursor() as cursor:
        cursor.execute(_LEGS, [ordering_key, ordering_key])
        return [Leg(*row) for row in cursor.fetchall()]


def waiting_of(*, ordering_key: UUID, using: str = "default") -> list[Waiting]:
    """Return what is still to be delivered for one order, in its order, at most `MOST_WAITING`."""
    # Never is a time that not every zone of Python can hold.
    due = Case(When(dead_at__isnull=True, then=F("available_at")))
    rows: QuerySet[Any] = Delivery.objects.using(using).filter(ordering_key=ordering_key).defer("available_at")
    heads: dict[str, Delivery] = {}
    waiting = []
    for row in rows.annotate(due_at=due).order_by("id")[:MOST_WAITING]:
        waiting.append(Waiting(row, row.due_at, heads.get(row.destination)))
        if row.dead_at is None or row.kind == "event":
            heads.setdefault(row.destination, row)
    return waiting
