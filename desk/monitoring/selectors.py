"""Reads of the monitoring view; none of them touches a hot table, nor a table of any context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db import connection
from django.utils import timezone

from desk.monitoring import sql
from desk.monitoring.exposures import LiveSagas
from desk.monitoring.models import Measurement, Minute
from outbox.desk import duration

# Three refreshes have failed, or nobody has asked for them.
STALE_AFTER = timedelta(seconds=90)

_decode_steps = msgspec.json.Decoder(dict[str, tuple[str, str]]).decode


@dataclass(frozen=True, slots=True)
class OpenCases:
    """Open cases that are alike; `amount` is their sum in minor units, of those whose money is known.

    `reason` is what the error of one of them begins with.
    """

    fingerprint: str
    step: str
    direction: str
    destination: str
    error_class: str
    currency: str
    reason: str
    cases: int
    amount: int
    oldest_at: datetime
    due_at: datetime
    overdue: int
    unowned: int


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits for one destination in one lane; `oldest_at` is when the oldest of it was said."""

    destination: str
    lane: str
    waiting: int
    in_flight: int
    dead: int
    oldest_at: datetime | None
    blocked_keys: int


@dataclass(frozen=True, slots=True)
class WaitingApprovals:
    """Requests for a second person's approval of one action; `amount` is their sum in minor units."""

    action: str
    currency: str
    approvals: int
    amount: int
    oldest_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Freshness:
    """When the view was measured; `at` is empty before the first time."""

    at: datetime | None
    now: datetime

    @property
    def seconds(self) -> float | None:
        """Its age."""
        return None if self.at is None else (self.now - self.at).total_seconds()

    @property
    def age(self) -> str:
        """Its age in words."""
        return f"{self.seconds or 0:.0f} s" if (self.seconds or 0) < 60 else duration(self.at, self.now)

    @property
    def is_stale(self) -> bool:
        """Whether it is too old to act on."""
        return self.at is None or self.now - self.at > STALE_AFTER


def freshness() -> Freshness:
    """Return how old the view is."""
    return Freshness(Measurement.objects.values_list("at", flat=True).first(), timezone.now())


def live_sagas() -> list[tuple[LiveSagas, datetime]]:
    """Return live sagas by how they stand, each with when the oldest of them began."""
    return [(LiveSagas(*(*row[:6], _decode_steps(row[6]), *row[7:9])), row[9]) for row in _rows(sql.LIVE_SAGAS)]


def open_cases() -> list[OpenCases]:
    """Return open cases by what is wrong, the most urgent first."""
    return [OpenCases(*row) for row in _rows(sql.OPEN_CASES)]


def count_open_cases() -> int:
    """Return how many cases waited for a person when the view was measured."""
    ((count,),) = _rows(sql.COUNT_OPEN_CASES)
    return int(count)


def queue() -> list[Queue]:
    """Return what waits for whom."""
    return [Queue(*row) for row in _rows(sql.QUEUE)]


def waiting_approvals() -> list[WaitingApprovals]:
    """Return what waits for a second person, what lapses first on top."""
    return [WaitingApprovals(*row) for row in _rows(sql.WAITING_APPROVALS)]


def minutes(*, since: datetime) -> list[Minute]:
    """Return the minutes from a time on, in order."""
    return list(Minute.objects.filter(at__gte=since).order_by("at"))


def lag_seconds(queues: Sequence[Queue], *, at: datetime) -> float:
    """Return for how long the oldest message had waited at that time."""
    return max(((at - row.oldest_at).total_seconds() for row in queues if row.oldest_at), default=0.0)


def _rows(statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows
