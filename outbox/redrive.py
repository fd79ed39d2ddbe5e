"""What a person does with dead letters and history: send again, discard, replay."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connections, transaction

from outbox import doorbell
from outbox.consumers import CONSUMERS
from outbox.publishing import lane_of, routing
from outbox.transactions import on_commit, require_transaction

# Messages replayed with one statement: bounded transactions, whatever the time span.
REPLAY_BATCH = 5_000


class ReplayRefused(ValueError):
    """A replay that cannot be done; the text says why."""


# Deliveries of some messages: of one order (index: outbox_delivery_order) and to one destination, if these are given.
_CHOSEN = """
message_id = ANY(%s) AND (%s::uuid IS NULL OR ordering_key = %s::uuid)
AND (%s::text IS NULL OR destination = %s::text)
"""


def redrive(
    *,
    message_ids: Collection[UUID],
    ordering_key: UUID | None = None,
    destination: str | None = None,
    using: str = "default",
) -> set[UUID]:
    """Give dead deliveries of these messages fresh attempts, now. Returns the messages that have any delivery.

    With an ordering key or a destination, only deliveries of it. A message that is not returned has nothing left to
    send again. Safe to call twice. The caller's transaction.
    """
    require_transaction(using)
    chosen = _choice(message_ids, ordering_key, destination)
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE outbox_delivery
            SET attempts = 0, dead_at = NULL, token = NULL, available_at = now()
            WHERE {_CHOSEN} AND dead_at IS NOT NULL
            RETURNING lane
            """,  # noqa: S608 - a constant
            chosen,
        )
        lanes = {row[0] for row in cursor.fetchall()}
        cursor.execute(f"SELECT message_id FROM outbox_delivery WHERE {_CHOSEN}", chosen)  # noqa: S608 - a constant
        present = {row[0] for row in cursor.fetchall()}
    if lanes:
        on_commit(lambda: doorbell.ring(lanes), using)
    return present


def discard(
    *,
    message_ids: Collection[UUID],
    ordering_key: UUID | None = None,
    destination: str | None = None,
    using: str = "default",
) -> int:
    """Delete dead deliveries of these messages: a person has decided. The log keeps message and attempts.

    With an ordering key or a destination, only deliveries of it. Returns how many. The caller's transaction.
    """
    require_transaction(using)
    chosen = _choice(message_ids, ordering_key, destination)
    with connections[using].cursor() as cursor:
        cursor.execute(f"DELETE FROM outbox_delivery WHERE {_CHOSEN} AND dead_at IS NOT NULL", chosen)  # noqa: S608
        return int(cursor.rowcount)


def _choice(message_ids: Collection[UUID], ordering_key: UUID | None, destination: str | None) -> list[Any]:
    return [list(message_ids), ordering_key, ordering_key, destination, destination]


def require_replayable(*, consumer: str, since: datetime | None, ordering_key: UUID | None) -> None:
    """Raise `ReplayRefused` for an unknown consumer or a missing bound."""
    if consumer not in CONSUMERS:
        raise ReplayRefused(f"no consumer is named {consumer!r}; there are: {', '.join(c.name for c in CONSUMERS)}")
    if (since is None) == (ordering_key is None):
        raise ReplayRefused("give either a time to replay from or one order, not both and not neither")


def replay(
    *, consumer: str, since: datetime | None = None, ordering_key: UUID | None = None, using: str = "default"
) -> int:
    """Deliver logged events to a consumer again, in order. Returns how many deliveries were added.

    What the consumer has handled stays handled: its inbox lets only the missing ones through. Commands are never
    replayed; a saga decides about them. Raises `ReplayRefused` as `require_replayable` does.
    """
    require_replayable(consumer=consumer, since=since, ordering_key=ordering_key)
    wanted = [
        (
            wire_type,
            lane_of(destination=consumer, message_type=routing().types[wire_type], direction=None).value,
        )
        for wire_type, destinations in routing().destinations.items()
        if consumer in destinations and routing().types[wire_type].kind == "event"
    ]
    added = 0
    after = -1
    with connections[using].cursor() as cursor:
        while True:
            with transaction.atomic(using=using):
                cursor.execute(
                    """
                    WITH chosen AS (
                        SELECT m.id, m.time, m.sequence, m.kind, m.type, m.ordering_key, u.lane
                        FROM outbox_message m JOIN unnest(%s::text[], %s::text[]) AS u(type, lane) USING (type)
                        WHERE m.sequence > %s
                          AND (%s::timestamptz IS NULL OR m.time >= %s::timestamptz)
                          AND (%s::uuid IS NULL OR m.ordering_key = %s::uuid)
                        ORDER BY m.sequence LIMIT %s
                    ), added AS (
                        INSERT INTO outbox_delivery
                            (message_id, message_time, destination, lane, kind, type, ordering_key)
                        SELECT c.id, c.time, %s, c.lane, c.kind, c.type, c.ordering_key FROM chosen c
                        WHERE NOT EXISTS (SELECT FROM outbox_delivery d
                                          WHERE d.message_id = c.id AND d.destination = %s)
                        ORDER BY c.sequence
                        RETURNING 1
                    )
                    SELECT (SELECT max(sequence) FROM chosen), (SELECT count(*) FROM added)
                    """,
                    [
                        [wire_type for wire_type, _ in wanted],
                        [lane for _, lane in wanted],
                        after,
                        since,
                        since,
                        ordering_key,
                        ordering_key,
                        REPLAY_BATCH,
                        consumer,
                        consumer,
                    ],
                )
                last, count = cursor.fetchone()
            if last is None:
                break
            after, added = last, added + count
    doorbell.ring({lane for _, lane in wanted})
    return added
