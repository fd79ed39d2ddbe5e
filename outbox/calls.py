"""The record of calls to the outside world: what was asked, what was answered, how long it took.

A thread that makes the calls of a message listens to itself; what it hears is written in the transaction that records
the outcome. So a call costs no statement of its own, and it is kept whatever came of it: an answer, a failure, or an
outcome that another relay was to record. What is lost are the calls of a worker that dies before it can record; their
keys are looked up again by whoever takes over.

Neither card data nor personal data is kept: it is struck out before anything is remembered.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.db import connections
from django.utils.module_loading import import_string

from outbox import sql
from outbox.contracts import trace_of
from outbox.places import place_of
from outbox.redaction import personal_texts, redacted, without

if TYPE_CHECKING:
    # Gateways are imported before there are models; claims know models.
    from outbox.claims import Claimed

# Requests and answers of bank and carrier are a few hundred characters; a whole page of an error is not worth more.
LONGEST = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call as it went: `request` and `answer` are texts, JSON where they are, without card and personal data.

    `began` is by this process's monotonic clock. `status` is None and `error` says why when there was no answer.
    """

    gateway: str
    operation: str
    method: str
    path: str
    key: str
    request: str
    status: int | None
    answer: str
    outcome: str
    error: str
    began: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Made:
    """A call with what it belongs to: the order, and the message with its attempt where it is known."""

    call: Call
    ordering_key: UUID
    message_id: UUID | None
    attempt: int
    trace_id: str


_heard: ContextVar[list[Call] | None] = ContextVar("heard", default=None)


@contextmanager
def listening() -> Iterator[list[Call]]:
    """Collect the calls that this thread makes until the block ends."""
    heard: list[Call] = []
    before = _heard.set(heard)
    try:
        yield heard
    finally:
        _heard.reset(before)


def note(
    *,
    gateway: str,
    operation: str,
    method: str,
    path: str,
    key: str,
    body: Any,
    status: int | None,
    content: bytes,
    outcome: str,
    error: str,
    began: float,
) -> None:
    """Remember a call for whoever listens in this thread; without a listener do nothing. Never raises."""
    heard = _heard.get()
    if heard is None:
        return
    personal = personal_texts(body)
    heard.append(
        Call(
            gateway=gateway,
            operation=operation,
            method=method,
            # Made of our own keys alone.
            path=path,
            key=key,
            request="" if body is None else _storable(json.dumps(redacted(body), default=str, ensure_ascii=False)),
            status=status,
            answer=_storable(without(_readable(content), personal)),
            outcome=outcome,
            error=_storable(without(error, personal)),
            began=began,
            seconds=time.monotonic() - began,
        )
    )


def attribute(*, calls: Sequence[Call], chunk: Sequence[Claimed]) -> list[Made]:
    """Return the calls that were made for these messages, each with its order.

    Of several messages that were handled together the key of a call tells the order; what tells of none is left out.
    """
    only = chunk[0] if len(chunk) == 1 else None
    made = []
    for call in calls:
        place = place_of(call.key)
        ordering_key = place.order_id if place else only.subject if only else None
        if ordering_key is not None:
            made.append(
                Made(
                    call,
                    ordering_key,
                    only.message_id if only else None,
                    only.attempt if only else 1,
                    trace_of(only.headers.get("traceparent", "")) if only else "",
                )
            )
    return made


def write(*, made: Sequence[Made], using: str) -> None:
    """Write calls with one statement, in the caller's transaction. Times are by the database's clock."""
    if not made:
        return
    now = time.monotonic()
    rows = [
        (
            now - one.call.began,
            round(one.call.seconds * 1000),
            one.call.gateway,
            one.call.operation,
            one.call.method,
            one.call.path,
            one.call.key,
            one.call.request,
            one.call.status,
            one.call.answer,
            one.call.outcome,
            one.call.error,
            one.ordering_key,
            one.message_id,
            one.attempt,
            one.trace_id,
        )
        for one in made
    ]
    with connections[using].cursor() as cursor:
        cursor.execute(sql.RECORD_CALLS, [list(column) for column in zip(*rows, strict=True)])


def _readable(content: bytes) -> str:
    """Return an answer as text, redacted where it is JSON."""
    try:
        return json.dumps(redacted(json.loads(content)), ensure_ascii=False)
    except (ValueError, RecursionError):
        return content[:LONGEST].decode(errors="replace")


def _storable(text: str) -> str:
    """Return what the database can hold of a text, without card numbers: no answer may stop the record of another."""
    if not text:
        return text
    return _strike_out()(text)[:LONGEST].encode(errors="replace").decode().replace("\x00", "?")


@cache
def _strike_out() -> Callable[[str], str]:
    found: Callable[[str], str] = import_string(settings.OUTBOX_STRIKE_OUT)
    return found
