"""The sweeps of payments, run by beat."""

from __future__ import annotations

from celery import shared_task

from payments import reconciliation, webhooks


@shared_task
def reconcile() -> None:
    """Compare the gateway's ledger with our payments."""
    reconciliation.reconcile()


@shared_task
def prune_webhooks() -> None:
    """Forget webhooks that were settled long ago."""
    webhooks.prune_settled()
