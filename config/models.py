"""What the composition root keeps for itself: how far the consistency audit looked, and who could not sign in."""

from __future__ import annotations

from typing import Any

from axes.models import AccessAttempt
from django.db import models


class AuditRun(models.Model):
    """One look of the scheduled audit: what changed from `since_at` on was judged, as it stood at `at`.

    The next look goes on where the last one began, so that nothing slips through between two of them.
    """

    at = models.DateTimeField()
    since_at = models.DateTimeField()
    keys = models.BigIntegerField(help_text="How many ordering keys were looked at.")
    findings: models.JSONField[Any, Any] = models.JSONField()

    class Meta:
        indexes = (models.Index(fields=("at",), name="composition_auditrun_at"),)

    def __str__(self) -> str:
        return f"audit at {self.at}: {len(self.findings)} findings"


class FailedSignIn(AccessAttempt):  # type: ignore[misc]
    """A name that was tried with wrong passwords from one address with one browser; django-axes keeps count."""

    class Meta:
        proxy = True
        default_permissions = ("view",)
        permissions = (("unlock_signin", "Can let somebody sign in again"),)
        verbose_name = "failed sign-in"
