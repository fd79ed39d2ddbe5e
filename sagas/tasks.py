"""The sweeps of coordination, run by beat on their own queue."""

from __future__ import annotations

from datetime import timedelta

import structlog
from celery import shared_task
from django.db.models import Q
from django.utils import timezone

from sagas import deadlines, four_eyes, selectors
from sagas.models import Case

log = structlog.get_logger(__name__)

# An overdue case is called out again after this long, not at every sweep.
REMIND_EVERY = timedelta(hours=1)


@shared_task
def sweep_deadlines() -> None:
    """Turn missed deadlines into decisions."""
    deadlines.sweep_deadlines()


@shared_task
def remind_overdue_cases() -> None:
    """Call out open cases that are past their due time; an alert listens for the log event."""
    now = timezone.now()
    overdue = Case.objects.filter(status=Case.Status.OPEN, due_at__lt=now).filter(
        Q(reminded_at__isnull=True) | Q(reminded_at__lt=now - REMIND_EVERY)
    )
    for case in overdue:
        log.error(
            "sagas.case.overdue",
            case=case.pk,
            order_id=str(case.key),
            owner=case.owner,
            due_at=str(case.due_at),
        )
    overdue.update(reminded_at=now)


@shared_task
def lapse_requests() -> None:
    """Close the requests for a second person's approval that nobody can approve any more."""
    four_eyes.lapse_overdue()


@shared_task
def measure() -> None:
    """Refresh the gauges of coordination."""
    selectors.refresh_gauges(timezone.now())
