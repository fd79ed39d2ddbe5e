"""One message again, by a person's hand: an edited copy in the place of a dead one, or an event once more.

The log is append-only, so the message that was said stays as it was. Its edited copy names it as its cause, in the
headers too, and takes over its delivery: the place in the order of its key, and the place at the barrier, so that what
is sent now is the same step under the same idempotency key.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from django.db import connections
from uuid_utils.compat import uuid7

from outbox import doorbell
from outbox.consumers import CONSUMERS, MADE_ANEW
from outbox.contracts import Direction
from outbox.models import Delivery, InboxEntry, Message
from outbox.publishing import lane_of, routing
from outbox.redrive import ReplayRefused
from outbox.transactions import on_commit, require_transaction

# The header of an edited copy that names the message it stands for.
REPLACES = "replaces"
HANDLED, DELIVERED_AGAIN = "handled already", "delivered again"


class NotReplaceable(ValueError):
    """A message that no edited copy can stand for any more; the text says why."""


def replace(
    *, message: Message, destination: str, dead_since: datetime, payload: dict[str, Any], using: str = "default"
) -> UUID:
    """Let a copy with this payload be delivered in the place of a dead message. Returns the id of the copy.

    `dead_since` is when the delivery that was seen had died. The caller's transaction. Raises `NotReplaceable` when the
    message is not dead there any more, or another one has its place at the barrier.
    """
    require_transaction(using)
    copy_id = uuid7()
    _hand_over_place(message, copy_id, using)
    with connections[using].cursor() as cursor:
        # Index: outbox_delivery_order, then the message's primary key.
        cursor.execute(
            """
            WITH dead AS (
                SELECT id, message_id, message_time FROM outbox_delivery
                WHERE ordering_key = %s AND destination = %s AND message_id = %s AND dead_at = %s
                FOR UPDATE
            ), said AS (
                INSERT INTO outbox_message
                    (id, kind, type, version, source, ordering_key, correlation_id, causation_id, headers, payload)
                SELECT %s, m.kind, m.type, m.version, m.source, m.ordering_key, m.correlation_id, m.id,
                       m.headers || jsonb_build_object(%s::text, m.id), %s::jsonb
                FROM dead JOIN outbox_message m ON m.id = dead.message_id AND m.time = dead.message_time
            )
            UPDATE outbox_delivery d
            SET message_id = %s, message_time = now(), attempts = 0, dead_at = NULL, token = NULL,
                available_at = now(), error_class = %s, error = '', fingerprint = ''
            FROM dead WHERE d.id = dead.id
            RETURNING d.lane
            """,
            [
                message.ordering_key,
                destination,
                message.pk,
                dead_since,
                copy_id,
                REPLACES,
                msgspec.json.encode(payload).decode(),
                copy_id,
                MADE_ANEW,
            ],
        )
        lanes = {row[0] for row in cursor.fetchall()}
    if not lanes:
        raise NotReplaceable(f"{message.type} is not dead at {destination} any more: somebody has dealt with it")
    on_commit(lambda: doorbell.ring(lanes), using)
    return copy_id


def revive(*, message: Message, destination: str, using: str = "default") -> bool:
    """Deliver a command again whose attempts were given up without knowing whether one of them was carried out.

    It keeps its step and with it its key, and the outside world is asked by it first: so nothing is done twice. Returns
    False when its place at the barrier is not its own any more, so that it could do nothing. The caller's transaction.
    """
    require_transaction(using)
    step, direction = message.headers.get("step"), message.headers.get("direction")
    with connections[using].cursor() as cursor:
        cursor.execute(
            "UPDATE outbox_barrier SET settled = FALSE"
            " WHERE saga_id = %s AND step = %s AND direction = %s AND message_id = %s",
            [message.correlation_id, step, direction, message.pk],
        )
        if cursor.rowcount == 0:
            return False
    _deliver(message, destination, direction, using)
    return True


def redeliver(*, message: Message, destination: str, using: str = "default") -> str:
    """Deliver an event to one consumer once more, unless it has handled it. Returns which of the two is so.

    Two at once deliver it once. The caller's transaction. Raises `ReplayRefused` for a command, a consumer that does
    not take it, and one to which it is on its way or dead.
    """
    require_transaction(using)
    if message.kind != "event":
        raise ReplayRefused("a command is not delivered again by itself: act on the case or the saga that sent it")
    if destination not in routing().destinations.get(message.type, ()) or destination not in CONSUMERS:
        raise ReplayRefused(f"{destination} does not take {message.type}")
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"{message.pk} {destination}"])
    waiting = Delivery.objects.using(using).filter(
        ordering_key=message.ordering_key, destination=destination, message_id=message.pk
    )
    if (dead := waiting.values_list("dead_at", flat=True).first()) is not None:
        raise ReplayRefused(f"it is dead at {destination} since {dead:%Y-%m-%d %H:%M} UTC: retry its case")
    if waiting.exists():
        raise ReplayRefused(f"it is on its way to {destination} already")
    if InboxEntry.objects.using(using).filter(consumer=destination, message_id=message.pk).exists():
        return HANDLED
    _deliver(message, destination, None, using)
    return DELIVERED_AGAIN


def _deliver(message: Message, destination: str, direction: Direction | None, using: str) -> None:
    message_type = routing().types[message.type]
    lane = lane_of(destination=destination, message_type=message_type, direction=direction).value
    Delivery.objects.using(using).create(
        message_id=message.pk,
        message_time=message.time,
        destination=destination,
        lane=lane,
        kind=message.kind,
        type=message.type,
        ordering_key=message.ordering_key,
        error_class=MADE_ANEW,
    )
    on_commit(lambda: doorbell.ring({lane}), using)


def _hand_over_place(message: Message, copy_id: UUID, using: str) -> None:
    """Let the copy have the place that the message took before it called the outside world, if it took one."""
    step, direction = message.headers.get("step"), message.headers.get("direction")
    if message.kind != "command" or message.correlation_id is None or step is None:
        return
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT message_id, settled FROM outbox_barrier WHERE saga_id = %s AND step = %s AND direction = %s"
            " FOR UPDATE",
            [message.correlation_id, step, direction],
        )
        place = cursor.fetchone()
        if place is None:
            return
        holder, is_settled = place
        if holder != message.pk or is_settled:
            raise NotReplaceable(f"{step} ({direction}) was handled already, or undone")
        cursor.execute(
            "UPDATE outbox_barrier SET message_id = %s WHERE saga_id = %s AND step = %s AND direction = %s",
            [copy_id, message.correlation_id, step, direction],
        )
