"""What went to and fro for an order: messages, tries that failed, calls of the outside world, and what still waits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from desk.timeline.shape import Entry, Reading
from outbox.contracts import trace_of
from outbox.history import Waiting, calls_of, waiting_of
from outbox.models import Attempt, GatewayCall, Message
from outbox.redaction import redacted
from outbox.selectors import attempts_of, messages_of

MESSAGE, ATTEMPT, CALL, DELIVERY = "message", "attempt", "call", "delivery"


def messages(reading: Reading) -> Iterator[Entry]:
    """Tell what was said."""
    return map(_said, reading.rows(messages_of(ordering_key=reading.order_id), "time", "sequence"))


def attempts(reading: Reading) -> Iterator[Entry]:
    """Tell which tries failed, and what was decided then."""
    return map(_tried, reading.rows(attempts_of(ordering_key=reading.order_id), "at", "id"))


def calls(reading: Reading) -> Iterator[Entry]:
    """Tell what the outside world was asked and what it said."""
    return map(_called, reading.rows(calls_of(ordering_key=reading.order_id), "started_at", "id"))


def deliveries(reading: Reading) -> Iterable[Entry]:
    """Tell what is still to be delivered, at the time when it is due, or since when it is dead."""
    return reading.sorted(map(_waits, waiting_of(ordering_key=reading.order_id)))


def readable(text: str) -> Any:
    """Return what a text says as JSON, or the text itself if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _said(message: Message) -> Entry:
    step, direction = message.headers.get("step"), message.headers.get("direction")
    return Entry(
        at=message.time,
        kind=MESSAGE,
        what=f"{message.kind} {message.type}",
        place=message.sequence,
        rank=2,
        detail={
            "message_id": message.pk,
            "source": message.source,
            "step": step,
            "direction": direction,
            "saga_id": message.correlation_id,
            "caused_by": message.causation_id,
            "trace_id": trace_of(message.headers.get("traceparent", "")),
            "version": message.version,
            "payload": redacted(message.payload),
        },
    )


def _tried(attempt: Attempt) -> Entry:
    return Entry(
        at=attempt.at,
        kind=ATTEMPT,
        what=f"{attempt.type} failed at {attempt.destination}: {attempt.get_decision_display().lower()}",
        place=attempt.pk,
        rank=3,
        detail={
            "message_id": attempt.message_id,
            "destination": attempt.destination,
            "attempt": attempt.attempt,
            "decision": attempt.decision,
            "error_class": attempt.error_class,
            "error": attempt.error,
            "fingerprint": attempt.fingerprint,
        },
    )


def _called(call: GatewayCall) -> Entry:
    return Entry(
        at=call.started_at,
        kind=CALL,
        what=f"{call.gateway} {call.operation}: {call.outcome}".replace("_", " "),
        place=call.pk,
        milliseconds=call.milliseconds,
        detail={
            "gateway": call.gateway,
            "operation": call.operation,
            "key": call.key,
            "asked": f"{call.method} {call.path}",
            "status": call.status,
            "outcome": call.outcome,
            "error": call.error,
            "attempt": call.attempt,
            "message_id": call.message_id,
            "trace_id": call.trace_id,
            "request": readable(call.request),
            "answer": readable(call.answer),
        },
    )


def _waits(waiting: Waiting) -> Entry:
    row = waiting.delivery
    if row.dead_at is not None:
        state = "dead, a person must settle it"
    elif row.token is not None:
        state = "in flight, the lease ends then"
    else:
        state = "waits until it is due"
    at: datetime = row.dead_at or waiting.due_at or row.message_time
    return Entry(
        at=at,
        kind=DELIVERY,
        what=f"{row.type} for {row.destination}: {state}",
        place=row.pk,
        rank=4,
        detail={
            "delivery_id": row.pk,
            "message_id": row.message_id,
            "destination": row.destination,
            "lane": row.lane,
            "due_at": waiting.due_at,
            "dead_at": row.dead_at,
            "attempts": row.attempts,
            "blocked_by": f"{waiting.behind.type} (delivery {waiting.behind.pk})" if waiting.behind else "",
            "error_class": row.error_class,
            "error": row.error,
        },
    )
