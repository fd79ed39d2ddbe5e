"""Reads over the outbox: what waits, what is stuck, what was said of one order."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from django.db import connections
from django.db.models import QuerySet

from outbox import breaker, metrics
from outbox.consumers import CONSUMERS, OUTAGE
from outbox.models import Attempt, Delivery, Message

# Above this many rows an exact count costs more than it tells.
COUNT_LIMIT = 100_000


@dataclass(frozen=True, slots=True)
class DestinationStatus:
    """What waits for one destination; ages in seconds."""

    destination: str
    lane: str
    waiting: int
    in_flight: int
    dead: int
    oldest_seconds: float


def status(*, using: str = "default") -> list[DestinationStatus]:
    """Return the state of the queue by destination and lane, counting at most `COUNT_LIMIT` rows."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            """
            SELECT destination, lane,
                   count(*) FILTER (WHERE dead_at IS NULL AND token IS NULL),
                   count(*) FILTER (WHERE token IS NOT NULL),
                   count(*) FILTER (WHERE dead_at IS NOT NULL),
                   coalesce(extract(epoch FROM now() - min(message_time) FILTER (WHERE dead_at IS NULL)), 0)::float
            FROM (SELECT * FROM outbox_delivery LIMIT %s) d
            GROUP BY destination, lane ORDER BY destination, lane
            """,
            [COUNT_LIMIT],
        )
        return [DestinationStatus(*row) for row in cursor.fetchall()]


def blocked_keys(*, using: str = "default") -> int:
    """Return how many ordering keys wait behind a delivery that rests or is dead."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            """
            SELECT count(DISTINCT (d.destination, d.ordering_key))
            FROM outbox_delivery d
            WHERE d.dead_at IS NULL AND d.available_at <= now() AND EXISTS (
                SELECT FROM outbox_delivery e
                WHERE e.destination = d.destination AND e.ordering_key = d.ordering_key AND e.id < d.id
                  AND e.available_at > now() AND (e.dead_at IS NULL OR e.kind = 'event'))
            """
        )
        return int(cursor.fetchone()[0])


def pending(message_ids: Collection[UUID], *, using: str = "default") -> set[UUID]:
    """Return those messages that still have a delivery to make."""
    rows = Delivery.objects.using(using).filter(message_id__in=message_ids)
    return set(rows.values_list("message_id", flat=True))


def messages_of(*, ordering_key: UUID, using: str = "default") -> QuerySet[Message]:
    """Return all that was said under one ordering key, in order."""
    return Message.objects.using(using).filter(ordering_key=ordering_key).order_by("sequence")


def last_commands(
    *, ordering_keys: Collection[UUID], using: str = "default"
) -> dict[tuple[UUID | None, str, str], UUID]:
    """Return the last command for each saga, step on the wire and direction under these keys."""
    said = Message.objects.using(using).filter(ordering_key__in=ordering_keys, kind="command", headers__has_key="step")
    rows = said.order_by("sequence").values_list("correlation_id", "headers", "id")
    return {(saga_id, headers["step"], headers["direction"]): message_id for saga_id, headers, message_id in rows}


def held_up_by_outage(*, ordering_keys: Collection[UUID], using: str = "default") -> set[UUID]:
    """Return the messages under these keys that wait for the end of an outage, or are being called right now.

    So does what waits behind such a one, for the same destination.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(
            """
            SELECT d.message_id FROM outbox_delivery d
            WHERE d.ordering_key = ANY(%s) AND d.dead_at IS NULL AND EXISTS (
                SELECT FROM outbox_delivery head
                WHERE head.ordering_key = d.ordering_key AND head.destination = d.destination AND head.id <= d.id
                  AND head.dead_at IS NULL
                  AND (head.error_class = %s OR (head.token IS NOT NULL AND head.available_at > now())))
            """,
            [list(ordering_keys), OUTAGE],
        )
        return {row[0] for row in cursor.fetchall()}


def attempts_of(*, ordering_key: UUID, using: str = "default") -> QuerySet[Attempt]:
    """Return the failed attempts under one ordering key, in order."""
    return Attempt.objects.using(using).filter(ordering_key=ordering_key).order_by("id")


def refresh_gauges(*, using: str = "default") -> None:
    """Measure the queue into the gauges; run by beat, so that a scrape never touches the hot table."""
    rows = status(using=using)
    # Also those for whom nothing waits any more: a gauge keeps its last value.
    waiting = {consumer.name: 0 for consumer in CONSUMERS}
    for row in rows:
        waiting[row.destination] = waiting.get(row.destination, 0) + row.waiting + row.in_flight
    for destination, count in waiting.items():
        metrics.PENDING.labels(destination).set(count)
    metrics.OLDEST_PENDING.set(max((row.oldest_seconds for row in rows), default=0))
    metrics.BLOCKED_KEYS.set(blocked_keys(using=using))
    breaker.refresh_gauges()
    with connections[using].cursor() as cursor:
        cursor.execute(
            """
            SELECT coalesce(greatest(
                       max(greatest(age(backend_xmin), age(backend_xid))),
                       (SELECT max(age(transaction)) FROM pg_prepared_xacts),
                       (SELECT max(age(xmin)) FROM pg_replication_slots)
                   ), 0),
                   count(*) FILTER (WHERE backend_type = 'client backend'),
                   current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
            FROM pg_stat_activity
            """
        )
        xmin_age, in_use, limit = cursor.fetchone()
        metrics.OLDEST_XMIN.set(xmin_age)
        metrics.CONNECTIONS.set(in_use)
        metrics.CONNECTIONS_LIMIT.set(limit)
