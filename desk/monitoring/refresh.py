"""Measure the shop: refresh the view, note the minute, set the gauges. Run by beat every 30 seconds."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import OperationalError, connection, transaction
from psycopg.errors import QueryCanceled

from desk.monitoring import metrics, selectors, sql
from desk.monitoring.exposures import money_at_risk
from desk.monitoring.models import Minute

log = structlog.get_logger(__name__)

# A refresh keeps vacuum from cleaning the queue for as long as it takes. The views of a busy shop need a tenth of a
# second; one that needs this long does more harm than an old view.
LIMIT_SECONDS = 20
MINUTE = timedelta(minutes=1)
# What the charts show. So long a saga that turns back is still counted in the minute in which it began.
WINDOW = timedelta(hours=3)
# Starts are counted from the last minute noted on, but no further back: after a long silence of beat, and when it first
# runs, a refresh must not count all of history.
RECOUNT = timedelta(minutes=10)
KEEP = timedelta(days=7)

_UUID7_TIME_SHIFT = 80


def measure() -> bool:
    """Refresh the view, note the minute and set the gauges; all of it or nothing. Returns whether it was done.

    Not while somebody else does it, and not when it takes too long: then the last view stays, and its age shows. Safe
    to call at any time.
    """
    begun = time.monotonic()
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(sql.LIMIT, [str(LIMIT_SECONDS * 1000)])
            cursor.execute(sql.TAKE_TURN)
            is_ours, now = cursor.fetchone()
            if not is_ours:
                return False
            cursor.execute(sql.REFRESH)
            money = _note_minute(cursor, now)
            seconds = time.monotonic() - begun
            cursor.execute(sql.NOTE_MEASUREMENT, [now, seconds])
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
        log.warning("desk.monitoring.too_slow", limit_seconds=LIMIT_SECONDS)
        return False
    for kind, sums in money.items():
        for currency, amount in sums.items():
            metrics.MONEY_AT_RISK.labels(kind, currency).set(amount)
    metrics.MEASURED_AT.set(now.timestamp())
    metrics.SECONDS.set(seconds)
    return True


def least_id(moment: datetime) -> UUID:
    """Return the least id that a saga begun at this time can have: a UUIDv7 begins with its milliseconds."""
    return UUID(int=int(moment.timestamp() * 1000) << _UUID7_TIME_SHIFT)


def _note_minute(cursor: Any, now: datetime) -> dict[str, dict[str, int]]:
    """Note what the view says of this minute, and what has become of the earlier ones. Returns the money at risk."""
    this = now.replace(second=0, microsecond=0)
    window = [this - WINDOW + n * MINUTE for n in range(WINDOW // MINUTE + 1)]
    last = Minute.objects.order_by("-at").first()
    since = this - RECOUNT if last is None else min(max(last.at - MINUTE, this - RECOUNT), this)
    recent = [minute for minute in window if minute >= since]
    lows = [least_id(minute) for minute in recent]
    cursor.execute(sql.COUNT_STARTED, [recent, lows, lows[0]])
    lows = [least_id(minute) for minute in window]
    cursor.execute(sql.COUNT_ENDS, [lows, lows[0], lows, lows[0], window])

    cases, queues = selectors.open_cases(), selectors.queue()
    money = money_at_risk(group for group, _ in selectors.live_sagas())
    for kind, sums in money.items():
        # A gauge keeps its last value, in whichever process: what is over has to be said too.
        for currency in (last.money or {}).get(kind, {}) if last is not None else ():
            sums.setdefault(currency, 0)
    cursor.execute(
        sql.NOTE_LEVELS,
        [
            sum(row.cases for row in cases),
            sum(row.overdue for row in cases),
            selectors.lag_seconds(queues, at=now),
            sum(row.dead for row in queues),
            json.dumps(money),
            this,
        ],
    )
    Minute.objects.filter(at__lt=now - KEEP).delete()
    return money
