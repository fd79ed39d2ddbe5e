"""The sweeps of the desk, run by beat on their own queue; a ring only brings the next look forward."""

from __future__ import annotations

from celery import shared_task

from desk.bulk import worker
from desk.monitoring import refresh


@shared_task
def work_on_bulk_runs() -> None:
    """Do the rows of bulk runs that are due, for less than a second."""
    worker.work()


@shared_task
def measure() -> None:
    """Refresh the monitoring view, which the desk's first page reads instead of the hot tables."""
    refresh.measure()
