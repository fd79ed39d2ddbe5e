"""The sweeps that look over all rooms, run by beat."""

from __future__ import annotations

from celery import shared_task

from config.audit.watch import look


@shared_task
def audit() -> None:
    """Let the consistency audit judge what has changed since its last look."""
    look()
