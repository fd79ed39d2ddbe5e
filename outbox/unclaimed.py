"""Deliveries that nobody here can take: their type has no handler at their destination, so no relay asks for them.

A release may have dropped a handler, or a route may name the wrong consumer. Such a delivery would wait unseen for
ever, and hold up its key; instead it becomes a dead letter, with a case for a person, who can redrive it once the
handler is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.conf import settings
from django.db import connections, transaction

from outbox import sql
from outbox.claims import claim_again
from outbox.consumers import CONSUMERS, Consumer
from outbox.contracts import Message
from outbox.outcomes import Failure, settle

# During a rolling restart old processes meet types that only the new ones handle. None takes so long.
PATIENCE = timedelta(minutes=15)


class NoHandler(LookupError):
    """The destination has no handler for messages of this type."""


def bury_unclaimed(*, older_than: timedelta = PATIENCE, using: str = "default") -> int:
    """Make dead letters of what has waited so long for a handler that is not there. Returns how many.

    Safe to run at any time and any number of times; at most one batch per consumer.
    """
    return sum(_bury(consumer, older_than, using) for consumer in CONSUMERS)


def _bury(consumer: Consumer, older_than: timedelta, using: str) -> int:
    with transaction.atomic(using=using):
        with connections[using].cursor() as cursor:
            cursor.execute(
                sql.UNCLAIMED,
                [consumer.name, _wire_types(consumer.handlers), older_than.total_seconds(), settings.RELAY_BATCH],
            )
            ids = [row[0] for row in cursor.fetchall()]
        claimed = claim_again(delivery_ids=ids, using=using) if ids else []
        failed = [
            (one, Failure.of(NoHandler(f"{consumer.name} has no handler for {one.wire_type!r}"), permanent=True))
            for one in claimed
        ]
        if failed:
            settle(consumer=consumer, outcomes=failed, skipped=(), using=using)
    return len(claimed)


def _wire_types(kinds: Iterable[type[Message]]) -> list[str]:
    return [kind.wire_type for kind in kinds]
