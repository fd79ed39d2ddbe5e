"""What follows from an outcome: a reply, a rest before the next attempt, a dead letter."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from django.db import connections

from outbox import sql
from outbox.claims import Claimed
from outbox.consumers import (
    Consumer,
    Effectful,
    Handler,
    HandlerBroke,
    Outcome,
    Retry,
    RetryPolicy,
    TransientError,
    Wait,
)
from outbox.contracts import Envelope, Event, MessageDeadLettered
from outbox.metrics import DEAD, DELIVERED
from outbox.models import Attempt
from outbox.publishing import Outgoing, publish

log = structlog.get_logger(__name__)

# Errors are kept for people: the beginning says what happened, the rest is in the logs.
ERROR_LENGTH = 2_000


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed try. `permanent` says that no further attempt helps: the message cannot even be read.

    `retry_after` is the least that the next try has to wait, in seconds.
    """

    error_class: str
    error: str
    bug: bool = False
    permanent: bool = False
    retry_after: float = 0.0

    @classmethod
    def of(cls, error: BaseException, *, bug: bool = True, permanent: bool = False) -> Failure:
        """Describe an exception."""
        retry_after = error.retry_after if isinstance(error, TransientError) else 0.0
        return cls(type(error).__name__, _storable(str(error) or repr(error)), bug, permanent, retry_after)

    @classmethod
    def told(cls, outcome: Retry) -> Failure:
        """Take over what a handler says."""
        return cls(outcome.error_class, _storable(outcome.error))


@dataclass(frozen=True, slots=True)
class _Held:
    claimed: Claimed
    attempts: int
    delay: timedelta
    decision: str
    failure: Failure
    fingerprint: str


def fingerprint(*, destination: str, wire_type: str, error_class: str, error: str) -> str:
    """Return a short hash that is the same for the same kind of failure, whatever the ids and numbers in it.

    Any word with a digit counts as an id: `ch_3Px9`, `A7`, `1250EUR`.
    """
    shape = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\w*\d\w*", "#", error.splitlines()[0] if error else "")
    return hashlib.sha256(f"{destination}|{wire_type}|{error_class}|{shape}".encode()).hexdigest()[:12]


def backoff(policy: RetryPolicy, attempt: int) -> timedelta:
    """Return a random wait before the next attempt: full jitter below an exponential ceiling."""
    ceiling = min(policy.cap.total_seconds(), policy.base.total_seconds() * 2 ** min(attempt - 1, 30))
    return timedelta(seconds=random.uniform(0, ceiling))  # noqa: S311 - jitter, not a secret


def settle(
    *,
    consumer: Consumer,
    outcomes: Sequence[tuple[Claimed, Outcome | Failure]],
    skipped: Sequence[Claimed],
    withdrawn: Sequence[Claimed] = (),
    using: str,
) -> list[Claimed]:
    """Record a batch: publish replies, hold back what failed, delete what is done. The caller's transaction.

    `skipped` were handled before, `withdrawn` are commands whose compensation already waits. Returns those that
    need no further attempt.
    """
    done = [claimed.delivery_id for claimed in skipped]
    replies: list[Outgoing] = []
    held: list[_Held] = []
    for claimed, outcome in outcomes:
        match outcome:
            case Event():
                done.append(claimed.delivery_id)
                replies.append(_reply(consumer, claimed.known, outcome))
            case None:
                done.append(claimed.delivery_id)
            case Wait():
                rest = Failure(outcome.error_class, _storable(outcome.reason))
                held.append(_Held(claimed, claimed.attempt - 1, outcome.delay, "wait", rest, ""))
            case Retry() | Failure():
                failure = Failure.told(outcome) if isinstance(outcome, Retry) else outcome
                _decide(consumer, claimed, failure, held, replies, done)
            case _:
                raise HandlerBroke(f"{consumer.name} returned {outcome!r} for {claimed.wire_type}")
    for claimed in withdrawn:
        why = Failure("Withdrawn", "its compensation already waits")
        held.append(_Held(claimed, claimed.attempt, timedelta(), Attempt.Decision.WITHDRAWN, why, ""))
        done.append(claimed.delivery_id)

    aside = [claimed.delivery_id for claimed, outcome in outcomes if isinstance(outcome, Wait) and outcome.steps_aside]

    _write(held, aside, replies, done, using)
    _count(consumer, outcomes, skipped, held)
    finished = set(done)
    return [claimed for claimed, _ in outcomes if claimed.delivery_id in finished]


def _write(held: Sequence[_Held], aside: list[int], replies: Sequence[Outgoing], done: list[int], using: str) -> None:
    # What failed first: its trail is read off the deliveries, of which some go with the replies.
    with connections[using].cursor() as cursor:
        if held:
            cursor.execute(sql.HOLD_BACK, _columns(held))
        if aside:
            cursor.execute(sql.STEP_ASIDE, [aside])
        if replies:
            publish(replies, settles=done, using=using)
        elif done:
            cursor.execute(sql.SETTLE, [done])


def _storable(text: str) -> str:
    """Return what the database can hold of a text: whatever an outside world has put into it must not stop a relay."""
    return text[:ERROR_LENGTH].encode(errors="replace").decode().replace("\x00", "?")


def _decide(
    consumer: Consumer,
    claimed: Claimed,
    failure: Failure,
    held: list[_Held],
    replies: list[Outgoing],
    done: list[int],
) -> None:
    handler = _handler(consumer, claimed)
    policy = handler.policy if handler else RetryPolicy()
    limit = policy.bug_attempts if failure.bug else policy.attempts
    mark = fingerprint(
        destination=consumer.name,
        wire_type=claimed.wire_type,
        error_class=failure.error_class,
        error=failure.error,
    )
    if not failure.permanent and claimed.attempt < limit:
        delay = backoff(policy, claimed.attempt) + timedelta(seconds=failure.retry_after)
        held.append(_Held(claimed, claimed.attempt, delay, Attempt.Decision.RETRY, failure, mark))
        return
    if not failure.bug and isinstance(handler, Effectful) and handler.give_up is not None:
        event = handler.give_up(claimed.known, failure.error)
        if event is not None:
            held.append(_Held(claimed, claimed.attempt, timedelta(), Attempt.Decision.GIVEN_UP, failure, mark))
            done.append(claimed.delivery_id)
            replies.append(_reply(consumer, claimed.known, event))
            return
    held.append(_Held(claimed, claimed.attempt, timedelta(), Attempt.Decision.DEAD, failure, mark))
    DEAD.inc()
    log.error(
        "outbox.message.dead_lettered",
        destination=consumer.name,
        type=claimed.wire_type,
        message_id=str(claimed.message_id),
        order_id=str(claimed.subject),
        error_class=failure.error_class,
        error=failure.error,
    )
    if claimed.wire_type != MessageDeadLettered.wire_type:
        replies.append(_dead_letter(consumer, claimed, failure, mark))


def _handler(consumer: Consumer, claimed: Claimed) -> Handler | None:
    return consumer.handlers.get(type(claimed.envelope.data)) if claimed.envelope else None


def _reply(consumer: Consumer, cause: Envelope[Any], event: Event) -> Outgoing:
    return Outgoing(
        data=event,
        source=consumer.name,
        subject=cause.subject,
        correlation_id=cause.correlation_id,
        causation_id=cause.id,
        traceparent=cause.traceparent,
        step=cause.step,
        direction=cause.direction,
    )


def _dead_letter(consumer: Consumer, claimed: Claimed, failure: Failure, mark: str) -> Outgoing:
    event = MessageDeadLettered(
        message_id=claimed.message_id,
        message_type=claimed.wire_type,
        message_kind=claimed.kind,
        destination=consumer.name,
        attempts=claimed.attempt,
        error_class=failure.error_class,
        error=failure.error,
        fingerprint=mark,
    )
    return Outgoing(
        data=event,
        source=consumer.name,
        subject=claimed.subject,
        correlation_id=claimed.correlation_id,
        causation_id=claimed.message_id,
        traceparent=claimed.headers.get("traceparent"),
        step=claimed.headers.get("step"),
        direction=claimed.direction,
    )


def _columns(held: Sequence[_Held]) -> list[list[Any]]:
    return [
        [h.claimed.delivery_id for h in held],
        [h.attempts for h in held],
        [h.delay for h in held],
        [str(h.decision) for h in held],
        [h.failure.error_class for h in held],
        [h.failure.error for h in held],
        [h.fingerprint for h in held],
    ]


def _count(consumer: Consumer, outcomes: Sequence[Any], skipped: Sequence[Claimed], held: Sequence[_Held]) -> None:
    for decision in {h.decision for h in held}:
        many = sum(h.decision == decision for h in held)
        DELIVERED.labels(consumer.name, str(decision)).inc(many)
    if skipped:
        DELIVERED.labels(consumer.name, "duplicate").inc(len(skipped))
    delivered = len(outcomes) - len(held)
    if delivered > 0:
        DELIVERED.labels(consumer.name, "delivered").inc(delivered)
