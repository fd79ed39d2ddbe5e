"""Deliver to joined handlers: claim, handle and settle in one transaction, so that a crash rolls all of it back.

A batch that fails is cut in two until the guilty message stands alone; its neighbours succeed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import structlog
from django.db import transaction

from outbox.claims import Claimed, claim_again, claim_joined
from outbox.consumers import Consumer, HandlerBroke, Joined, Outcome
from outbox.contracts import Event
from outbox.horizon import Horizon
from outbox.inbox import give_back_places, take_places
from outbox.metrics import BATCH
from outbox.outcomes import Failure, settle
from outbox.transactions import is_passing

log = structlog.get_logger(__name__)


def deliver(
    *,
    consumer: Consumer,
    lane: str,
    types: Sequence[str],
    limit: int,
    using: str = "default",
    horizon: Horizon | None = None,
) -> int:
    """Hand one batch to the consumer's joined handlers. Returns how many messages were claimed.

    Raises only what concerns the database as a whole (a lost connection); deadlocks and handler errors are dealt
    with here.
    """
    ids: list[int] = []
    try:
        with transaction.atomic(using=using):
            claimed = claim_joined(consumer=consumer, lane=lane, types=types, limit=limit, using=using, horizon=horizon)
            if not claimed:
                return 0
            ids = [c.delivery_id for c in claimed]
            _handle(consumer, claimed, using)
    except Exception as error:
        if not ids:
            raise
        if is_passing(error):
            # Everything rolled back, the next pass claims it again.
            log.warning("outbox.batch.retried", destination=consumer.name, messages=len(ids), exc_info=True)
            return 0
        # A handler's bug must not stop the relay.
        _bisect(consumer, ids, error, using)
    BATCH.labels(lane).observe(len(ids))
    return len(ids)


def _handle(consumer: Consumer, claimed: Sequence[Claimed], using: str) -> None:
    outcomes: list[tuple[Claimed, Outcome | Failure]] = []
    readable: list[Claimed] = []
    for one in claimed:
        if one.unreadable is not None:
            outcomes.append((one, Failure.of(one.unreadable, permanent=True)))
        else:
            readable.append(one)
    passed = take_places(consumer=consumer, claimed=readable, settled=True, using=using)
    # By handler, not by type: one that takes several types gets them in one call, in order.
    groups: dict[Joined, list[Claimed]] = defaultdict(list)
    for one in passed.fresh:
        handler = consumer.handlers[type(one.known.data)]
        assert isinstance(handler, Joined)  # noqa: S101 - the claim asked for the types of joined handlers only
        groups[handler].append(one)
    put_off: list[Claimed] = []
    for handler, group in groups.items():
        answers = handler.handle([one.known for one in group])
        if len(answers) != len(group):
            raise HandlerBroke(f"{consumer.name} returned {len(answers)} outcomes for {len(group)} messages")
        for one, answer in zip(group, answers, strict=True):
            outcomes.append((one, answer))
            if answer is not None and not isinstance(answer, Event):
                put_off.append(one)
    give_back_places(consumer=consumer, claimed=put_off, using=using)
    settle(consumer=consumer, outcomes=outcomes, skipped=passed.skipped, using=using)


def _bisect(consumer: Consumer, ids: Sequence[int], error: Exception, using: str) -> None:
    if len(ids) == 1:
        log.warning("outbox.message.failed", destination=consumer.name, error=repr(error), exc_info=error)
        with transaction.atomic(using=using):
            claimed = claim_again(delivery_ids=ids, using=using)
            failed = [(one, Failure.of(error)) for one in claimed]
            settle(consumer=consumer, outcomes=failed, skipped=(), using=using)
        return
    middle = len(ids) // 2
    for half in (ids[:middle], ids[middle:]):
        try:
            with transaction.atomic(using=using):
                claimed = claim_again(delivery_ids=half, using=using)
                if claimed:
                    _handle(consumer, claimed, using)
        except Exception as half_error:
            if is_passing(half_error):
                log.warning("outbox.batch.retried", destination=consumer.name, messages=len(half), exc_info=True)
            else:
                _bisect(consumer, half, half_error, using)
