"""The product drains a prepared backlog through its real worker processes.

The clock runs from the first ring until every order has ended and every delivery is made, e-mails and read models
included: all work divided by all time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from django.db import connection

from bench.resources import Meter, reset_statements, statements
from outbox import doorbell
from outbox.models import Lane

POLL_SECONDS = 0.05
PATIENCE_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class Drained:
    """What a drain took; CPU in milliseconds per saga, memory in MiB per process."""

    orders_per_s: float
    cpu_ms_per_saga: float
    worker_cpu_ms_per_saga: float
    statements_per_saga: float
    peak_rss_mib: float
    cpu_ms_by_role: dict[str, float]
    costliest: list[tuple[str, int, float]]


def drain(*, orders: int, pids: dict[str, int]) -> Drained:
    """Ring, and wait until all is done. Raises `RuntimeError` when an order did not end confirmed."""
    meter = Meter(pids)
    reset_statements()
    meter.start()
    began = time.perf_counter()
    for lane in Lane.values:
        doorbell.send(lane)
    polls = 0
    while _left():
        polls += 1
        if time.perf_counter() - began > PATIENCE_SECONDS:
            raise RuntimeError("the backlog was not drained in time")
        time.sleep(POLL_SECONDS)
    seconds = time.perf_counter() - began
    meter.stop()
    count, costliest = statements()
    completed = _completed()
    if completed < orders:
        raise RuntimeError(f"only {completed} of {orders} sagas completed")
    everything = sum(meter.cpu_seconds.values())
    servers = sum(spent for role, spent in meter.cpu_seconds.items() if role in ("postgres", "valkey", "simulator"))
    return Drained(
        orders_per_s=orders / seconds,
        cpu_ms_per_saga=1000 * everything / orders,
        worker_cpu_ms_per_saga=1000 * (everything - servers) / orders,
        statements_per_saga=(count - polls - 2) / orders,
        peak_rss_mib=max(
            mib for role, mib in meter.peak_mib.items() if role not in ("postgres", "valkey", "simulator")
        ),
        cpu_ms_by_role={role: 1000 * spent / orders for role, spent in meter.cpu_seconds.items()},
        costliest=costliest,
    )


def _left() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM outbox_delivery)")
        return bool(cursor.fetchone()[0])


def _completed() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM sagas_sagainstance WHERE status = 'COMPLETED'")
        return int(cursor.fetchone()[0])
