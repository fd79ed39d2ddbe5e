"""The sweep of shipping, run by beat."""

from __future__ import annotations

from celery import shared_task

from shipping import reconciliation


@shared_task
def reconcile() -> None:
    """Compare the carrier's ledger with our shipments."""
    reconciliation.reconcile()
