"""The Celery entry points of messaging: the relay of a lane, and the sweeps that keep the tables small."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from celery import shared_task

from outbox import relay as relays
from outbox import retention
from outbox.idempotency import prune_expired
from outbox.selectors import refresh_gauges
from outbox.unclaimed import bury_unclaimed
from outbox.vigil import Vigil

_vigil = Vigil(look=lambda lane: relays.run(lane=lane))


@shared_task(bind=True)
def relay(self: Any, lane: str, linger: float = relays.LINGER_SECONDS) -> None:
    """Deliver what is due in one lane, and stay awake for `linger` seconds after the last message."""
    # Only a worker's process keeps watch, not whoever calls this function.
    with nullcontext() if self.request.called_directly or self.request.is_eager else _vigil.at_work(lane):
        relays.run(lane=lane, linger=linger)


@shared_task
def prune_idempotency_keys() -> None:
    """Delete expired idempotency keys."""
    prune_expired()


@shared_task
def keep_partitions() -> None:
    """Make the partitions of the coming days, drop those past retention, prune the inbox."""
    retention.create_partitions()
    retention.drop_expired()
    retention.prune_handled()


@shared_task
def measure() -> None:
    """Refresh the gauges of the outbox, and make dead letters of what nobody can take."""
    bury_unclaimed()
    refresh_gauges()
