"""Claim due deliveries and read their messages. What cannot be read is kept apart, so that neighbours go on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID, uuid4

import msgspec
from django.conf import settings
from django.db import connections

from outbox import sql
from outbox.consumers import OUTAGE, Consumer
from outbox.contracts import ACTION, COMPENSATION, Direction, Envelope, Kind, Message, decode
from outbox.horizon import Horizon
from outbox.publishing import routing


@dataclass(slots=True)
class Claimed:
    """One delivery that this relay works on. `envelope` is None when the message could not be read.

    `held_until` is the end of the lease by this process's monotonic clock, never later than the database's.
    """

    delivery_id: int
    attempt: int
    message_id: UUID
    kind: Kind
    wire_type: str
    subject: UUID
    correlation_id: UUID | None
    headers: dict[str, str]
    envelope: Envelope[Any] | None
    unreadable: Exception | None = None
    token: UUID | None = None
    held_until: float = 0.0
    turned_back: bool = False

    @property
    def known(self) -> Envelope[Any]:
        """The envelope of a message that could be read."""
        assert self.envelope is not None  # noqa: S101 - callers keep the unreadable ones apart
        return self.envelope

    @property
    def direction(self) -> Direction | None:
        """The direction of the step this message belongs to, if any."""
        return cast("Direction | None", self.headers.get("direction"))


def due(*, lane: str, destinations: Sequence[str], using: str, horizon: Horizon | None = None) -> set[str]:
    """Return those destinations that have something due in this lane and are not paused."""
    horizon = horizon or Horizon()
    with horizon.look_at_all(destinations) as looks, connections[using].cursor() as cursor:
        cursor.execute(sql.DUE, [lane, list(looks), [look.floor for look in looks.values()], lane])
        rows = cursor.fetchall()
        for destination, is_due, now in rows:
            looks[destination].first = None if is_due else now
    return {destination for destination, is_due, _ in rows if is_due}


def claim_joined(
    *, consumer: Consumer, lane: str, types: Sequence[str], limit: int, using: str, horizon: Horizon | None = None
) -> list[Claimed]:
    """Lock due deliveries until the caller's transaction ends."""
    horizon = horizon or Horizon()
    with horizon.look(consumer.name, types) as look, connections[using].cursor() as cursor:
        cursor.execute(sql.CLAIM_JOINED, [lane, consumer.name, list(types), look.floor, limit])
        rows = cursor.fetchall()
        look.found(row[-1] for row in rows)
    return [_read(row[:-1]) for row in rows]


def claim_again(*, delivery_ids: Sequence[int], using: str) -> list[Claimed]:
    """Lock these deliveries again, as far as they are still due and free."""
    with connections[using].cursor() as cursor:
        cursor.execute(sql.CLAIM_AGAIN, [list(delivery_ids)])
        return [_read(row) for row in cursor.fetchall()]


def claim_leased(
    *, consumer: Consumer, lane: str, types: Sequence[str], limit: int, using: str, horizon: Horizon | None = None
) -> list[Claimed]:
    """Claim due deliveries with a lease, so that they stay ours after the transaction has ended."""
    token = uuid4()
    held_until = time.monotonic() + settings.RELAY_LEASE_SECONDS
    horizon = horizon or Horizon()
    with horizon.look(consumer.name, types) as look, connections[using].cursor() as cursor:
        cursor.execute(
            sql.CLAIM_LEASED,
            [lane, consumer.name, list(types), look.floor, limit, token, settings.RELAY_LEASE_SECONDS],
        )
        rows = cursor.fetchall()
        look.found(row[-1] for row in rows)
    claimed = []
    for row in rows:
        one = _read(row[:-2])
        one.token, one.held_until, one.turned_back = token, held_until, row[-2]
        claimed.append(one)
    return claimed


def put_off(
    *, consumer: Consumer, lane: str, types: Sequence[str], seconds: float, spread: float, reason: str, using: str
) -> int:
    """Let what is due or will be within `seconds` rest for so long and a random part of `spread` more.

    No attempt is counted. Returns how many were put off, at most one batch.
    """
    limit = settings.RELAY_BATCH
    with connections[using].cursor() as cursor:
        cursor.execute(
            sql.PUT_OFF,
            [lane, consumer.name, list(types), seconds, limit, seconds, spread, OUTAGE, reason],
        )
        return int(cursor.rowcount)


def still_held(*, claimed: Sequence[Claimed], using: str) -> set[int]:
    """Lock and return the deliveries that this relay still holds: the fence."""
    with connections[using].cursor() as cursor:
        cursor.execute(sql.FENCE, [[c.delivery_id for c in claimed], [c.token for c in claimed]])
        return {row[0] for row in cursor.fetchall()}


def renew(*, claimed: Sequence[Claimed], using: str) -> None:
    """Extend the leases of these deliveries, where they are still ours."""
    held_until = time.monotonic() + settings.RELAY_LEASE_SECONDS
    with connections[using].cursor() as cursor:
        cursor.execute(
            sql.RENEW, [settings.RELAY_LEASE_SECONDS, [c.delivery_id for c in claimed], [c.token for c in claimed]]
        )
        held = {row[0] for row in cursor.fetchall()}
    for one in claimed:
        if one.delivery_id in held:
            one.held_until = held_until


_read_headers = msgspec.json.Decoder(dict[str, str]).decode


def _read(row: Sequence[Any]) -> Claimed:
    (
        delivery_id,
        attempt,
        error_class,
        message_id,
        said_at,
        kind,
        wire_type,
        source,
        subject,
        correlation_id,
        causation_id,
        head,
        body,
        claimed_at,
    ) = row
    headers: dict[str, str] = {}
    envelope: Envelope[Any] | None = None
    unreadable: Exception | None = None
    try:
        headers = _headers_of(head)
        envelope = Envelope(
            id=message_id,
            source=source,
            subject=subject,
            time=said_at,
            data=decode(_type_of(wire_type), body),
            attempt=attempt,
            tried=error_class != "",
            claimed_at=datetime.fromtimestamp(claimed_at, UTC),
            correlation_id=correlation_id,
            causation_id=causation_id,
            traceparent=headers.get("traceparent"),
            step=headers.get("step"),
            direction=cast("Direction | None", headers.get("direction")),
        )
    except (LookupError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        # Whoever wrote it, and however broken it is: one message must not stop the batch that it came with.
        unreadable = error
    return Claimed(
        delivery_id,
        attempt,
        message_id,
        kind,
        wire_type,
        subject,
        correlation_id,
        headers,
        envelope,
        unreadable,
    )


def _type_of(wire_type: str) -> type[Message]:
    try:
        return routing().types[wire_type]
    except KeyError:
        raise LookupError(f"unknown message type {wire_type!r}") from None


def _headers_of(head: str) -> dict[str, str]:
    headers = _read_headers(head)
    if headers.get("direction", ACTION) not in (ACTION, COMPENSATION):
        raise ValueError(f"unknown direction {headers['direction']!r}")
    return headers
