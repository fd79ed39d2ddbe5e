"""Apply each message once: the inbox for events, the barrier for commands of a saga.

Both insert first and look at what the unique key let in; nothing is checked before it is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connections

from outbox import sql
from outbox.claims import Claimed
from outbox.consumers import Consumer
from outbox.contracts import ACTION, COMPENSATION, GENERATION_MARK
from outbox.metrics import DUPLICATES


@dataclass(slots=True)
class Passed:
    """Of a batch: `fresh` may act; `skipped` were handled before, or their place was taken by a compensation."""

    fresh: list[Claimed]
    skipped: list[Claimed]


def take_places(*, consumer: Consumer, claimed: Sequence[Claimed], settled: bool, using: str) -> Passed:
    """Let each message of a batch pass once, in the caller's transaction.

    With `settled` the places are final (a joined handler, whose effect commits with them). Without, they are taken
    before a call to the outside world: a message that took its place on an earlier try passes again until its
    outcome is recorded, and events are only looked up, since theirs is taken with the record.
    """
    if not consumer.deduplicates:
        return Passed(list(claimed), [])
    commands = [c for c in claimed if _has_place(c)]
    events = [c for c in claimed if not _has_place(c)]
    passed: set[int] = set()
    if commands:
        passed |= _take_barrier(commands, settled=settled, using=using)
    if events:
        passed |= _take_inbox(consumer, events, take=settled, using=using)
    fresh = [c for c in claimed if c.delivery_id in passed]
    skipped = [c for c in claimed if c.delivery_id not in passed]
    if skipped:
        DUPLICATES.inc(len(skipped))
    return Passed(fresh, skipped)


def settle_places(*, consumer: Consumer, claimed: Sequence[Claimed], using: str) -> None:
    """Make the places of an effectful batch final, with the record of its outcomes."""
    commands = [c.known for c in claimed if _has_place(c)]
    events = [c.message_id for c in claimed if not _has_place(c)]
    with connections[using].cursor() as cursor:
        if commands:
            columns: list[list[Any]] = [
                [c.correlation_id for c in commands],
                [c.step for c in commands],
                [c.direction for c in commands],
            ]
            cursor.execute(sql.SETTLE_BARRIER, columns)
        if events:
            cursor.execute(sql.TAKE_INBOX, [consumer.name, events])


def give_back_places(*, consumer: Consumer, claimed: Sequence[Claimed], using: str) -> None:
    """Free the places of messages that a joined handler puts off, so that their next attempt passes."""
    if not claimed or not consumer.deduplicates:
        return
    commands = [_place(c) for c in claimed if _has_place(c)]
    events = [c.message_id for c in claimed if not _has_place(c)]
    with connections[using].cursor() as cursor:
        if commands:
            cursor.execute(sql.GIVE_BACK_BARRIER, [list(column) for column in zip(*commands, strict=True)])
        if events:
            cursor.execute(sql.GIVE_BACK_INBOX, [consumer.name, events])


def _has_place(claimed: Claimed) -> bool:
    envelope = claimed.known
    return envelope.data.kind == "command" and envelope.correlation_id is not None and envelope.step is not None


def _take_barrier(commands: Sequence[Claimed], *, settled: bool, using: str) -> set[int]:
    places: list[tuple[UUID, str, str, UUID]] = []
    for claimed in commands:
        envelope = claimed.known
        saga_id, step, direction = envelope.correlation_id, envelope.step, envelope.direction or ACTION
        assert saga_id is not None  # noqa: S101 - _has_place said so
        assert step is not None  # noqa: S101
        places.append((saga_id, step, direction, envelope.id))
        if direction == COMPENSATION:
            # Whichever attempt of an operator's the compensation is: it blocks the one action there ever was.
            places.append((saga_id, step.partition(GENERATION_MARK)[0], ACTION, envelope.id))
    columns = [list(column) for column in zip(*places, strict=True)]
    with connections[using].cursor() as cursor:
        cursor.execute(sql.TAKE_BARRIER, [settled, *columns])
        taken: set[tuple[Any, ...]] = set(cursor.fetchall())
        own = {c.delivery_id for c in commands if _place(c) in taken}
        rest = [c for c in commands if c.delivery_id not in own]
        if rest and not settled:
            cursor.execute(
                sql.OPEN_PLACES,
                [list(column) for column in zip(*((*_place(c), c.message_id) for c in rest), strict=True)],
            )
            mine = {row[0] for row in cursor.fetchall()}
            own |= {c.delivery_id for c in rest if c.message_id in mine}
    return own


def _place(claimed: Claimed) -> tuple[UUID | None, str | None, str]:
    envelope = claimed.known
    return envelope.correlation_id, envelope.step, envelope.direction or ACTION


def _take_inbox(consumer: Consumer, events: Sequence[Claimed], *, take: bool, using: str) -> set[int]:
    ids = [c.message_id for c in events]
    with connections[using].cursor() as cursor:
        cursor.execute(sql.TAKE_INBOX if take else sql.HANDLED, [consumer.name, ids])
        rows = {row[0] for row in cursor.fetchall()}
    passed: set[int] = set()
    for claimed in events:
        if take:
            if claimed.message_id in rows:
                rows.discard(claimed.message_id)
                passed.add(claimed.delivery_id)
        elif claimed.message_id not in rows:
            rows.add(claimed.message_id)
            passed.add(claimed.delivery_id)
    return passed
