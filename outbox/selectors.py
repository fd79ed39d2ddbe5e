"""Reads over the outbox: what waits, what is stuck, what was said of one order."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connections
from django.db.models import QuerySet

from outbox import breaker, metrics, pausing
from outbox.consumers import CONSUMERS, OUTAGE
from outbox.models import Attempt, Delivery, InboxEntry, Lane, Message

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


def pending(message_ids: Collection[UUID], *, ordering_key: UUID | None = None, using: str = "default") -> set[UUID]:
    """Return those messages that still have a delivery to make; with their ordering key it is found by an index."""
    rows = Delivery.objects.using(using).filter(message_id__in=message_ids)
    rows = rows.filter(ordering_key=ordering_key) if ordering_key is not None else rows
    return set(rows.values_list("message_id", flat=True))


def handled_at(*, pairs: Collection[tuple[str, UUID]], using: str = "default") -> dict[tuple[str, UUID], datetime]:
    """Return when each of these events was handled, by consumer and message id; what is missing was not, or long ago.

    Consumers whose own rows answer for what they have handled, and commands of a saga, have no such entries.
    """
    if not pairs:
        return {}
    consumers, messages = {name for name, _ in pairs}, {message_id for _, message_id in pairs}
    found = InboxEntry.objects.using(using).filter(consumer__in=consumers, message_id__in=messages)
    return {(name, message_id): at for name, message_id, at in found.values_list("consumer", "message_id", "at")}


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

    So does what waits behind such a one, for the same destination. A pause that a person has made is such an outage.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(
            """
            SELECT d.message_id FROM outbox_delivery d
            WHERE d.ordering_key = ANY(%s) AND d.dead_at IS NULL AND EXISTS (
                SELECT FROM outbox_delivery head
                WHERE head.ordering_key = d.ordering_key AND head.destination = d.destination AND head.id <= d.id
                  AND head.dead_at IS NULL
                  AND (head.error_class = %s OR (head.token IS NOT NULL AND head.available_at > now())
                       OR EXISTS (SELECT FROM outbox_pause p
                                  WHERE p.destination = head.destination AND p.resumed_at IS NULL
                                    AND (NOT p.compensations_only OR head.lane = 'compensations'))))
            """,
            [list(ordering_keys), OUTAGE],
        )
        return {row[0] for row in cursor.fetchall()}


def waiting_for(*, destination: str, most: int, using: str = "default") -> int:
    """Return how many messages wait for a destination or are in flight to it, without dead ones; up to `most` + 1."""
    waiting = Delivery.objects.using(using).filter(destination=destination, lane__in=Lane.values, dead_at__isnull=True)
    return waiting[: most + 1].count()


def unheard(*, ordering_keys: Collection[UUID], destination: str, using: str = "default") -> set[UUID]:
    """Return those keys of which something waits for this destination because a person has paused it."""
    if not any(one.destination == destination and not one.compensations_only for one in pausing.pauses(using=using)):
        return set()
    waiting = Delivery.objects.using(using).filter(
        ordering_key__in=ordering_keys, destination=destination, dead_at__isnull=True
    )
    return set(waiting.values_list("ordering_key", flat=True))


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
    paused = {pause.destination for pause in pausing.pauses(using=using)}
    for consumer in CONSUMERS:
        metrics.PAUSED.labels(consumer.name).set(consumer.name in paused)
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
