"""The Celery entry points of messaging: the relay of a lane, and the sweeps that keep the tables small."""

from __future__ import annotations

from celery import shared_task

from outbox import doorbell, retention
from outbox import relay as relays
from outbox.idempotency import prune_expired
from outbox.models import Lane
from outbox.selectors import refresh_gauges


@shared_task
def relay(lane: str) -> None:
    """Deliver what is due in one lane."""
    relays.run(lane=lane)


@shared_task
def ring_all() -> None:
    """Ring for every lane: the safety net behind the doorbell."""
    for lane in Lane.values:
        doorbell.send(lane)


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
    """Refresh the gauges of the outbox."""
    refresh_gauges()
