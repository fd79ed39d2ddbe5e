"""The rows of coordination: running and ended sagas, cases for people, and what people did."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from sagas.states import LIVE, SagaStatus


class SagaInstance(models.Model):
    """One run of a saga.

    It keeps name and version of its definition, never a class path. `steps` holds the state of every step, so that
    one event costs one row update; `due_at` is the next deadline. No index covers what changes while it runs, so
    that those updates stay within their page (HOT). The row stays after the end: it is the tombstone that keeps a
    late message from starting the saga again.
    """

    id = models.UUIDField(primary_key=True)
    name = models.TextField()
    version = models.SmallIntegerField()
    key = models.UUIDField(help_text="The order id.")
    status = models.TextField(choices=[(s.value, s.value.capitalize()) for s in SagaStatus])
    reason = models.TextField(blank=True, db_default="")
    steps: models.JSONField[Any, Any] = models.JSONField()
    data: models.JSONField[Any, Any] = models.JSONField()
    lock = models.TextField()
    traceparent = models.TextField(blank=True, db_default="")
    due_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "saga"
        constraints = (
            models.UniqueConstraint(fields=("key", "name"), name="sagas_one_per_key_and_name"),
            models.UniqueConstraint(
                fields=("key", "lock"),
                name="sagas_semantic_lock",
                condition=Q(status__in=[s.value for s in LIVE]),
            ),
            models.CheckConstraint(condition=Q(status__in=[s.value for s in SagaStatus]), name="sagas_status_known"),
        )
        indexes = (
            models.Index(fields=("started_at",), name="sagas_live", condition=Q(status__in=[s.value for s in LIVE])),
        )

    def __str__(self) -> str:
        return f"{self.name} {self.key}"


class Case(models.Model):
    """A file on the operators' desk: something that cannot go on by itself, with an owner and a due time."""

    class Status(models.TextChoices):
        """Whether a person is still needed."""

        OPEN = "OPEN"
        CLOSED = "CLOSED"

    class Resolution(models.TextChoices):
        """How a case ended."""

        RETRIED = "retried"
        SKIPPED = "skipped"
        RESOLVED = "resolved"
        ABANDONED = "abandoned"
        RECOVERED = "recovered"

    saga = models.ForeignKey(SagaInstance, null=True, on_delete=models.PROTECT, related_name="cases")
    key = models.UUIDField(help_text="The order id, or the ordering key of a message outside any saga.")
    step = models.TextField(blank=True)
    direction = models.TextField(blank=True)
    message_id = models.UUIDField(null=True)
    destination = models.TextField(blank=True)
    error_class = models.TextField()
    error = models.TextField()
    fingerprint = models.TextField()
    attempts = models.SmallIntegerField(default=0)
    status = models.TextField(choices=Status.choices, default=Status.OPEN)
    owner = models.TextField()
    opened_at = models.DateTimeField(db_default=Now())
    due_at = models.DateTimeField()
    reminded_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)
    resolution = models.TextField(choices=Resolution.choices, blank=True)
    reason = models.TextField(blank=True)
    reference = models.TextField(blank=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("saga", "step", "direction"),
                name="sagas_one_open_case_per_step",
                condition=Q(status="OPEN", saga__isnull=False),
            ),
            models.UniqueConstraint(
                fields=("message_id", "destination"),
                name="sagas_one_open_case_per_message",
                condition=Q(status="OPEN", saga__isnull=True),
            ),
        )
        indexes = (
            models.Index(fields=("due_at",), name="sagas_case_open", condition=Q(status="OPEN")),
            models.Index(fields=("key",), name="sagas_case_key"),
        )

    def __str__(self) -> str:
        return f"Case {self.pk}"


class Approval(models.Model):
    """What one person wants done and another one must approve; of a saga as it was seen, or of a case outside any."""

    class Status(models.TextChoices):
        """What became of the request."""

        REQUESTED = "REQUESTED"
        CARRIED_OUT = "CARRIED_OUT"
        DECLINED = "DECLINED"
        LAPSED = "LAPSED"

    saga = models.ForeignKey(SagaInstance, null=True, on_delete=models.PROTECT, related_name="approvals")
    case = models.ForeignKey(Case, null=True, on_delete=models.PROTECT, related_name="approvals")
    key = models.UUIDField()
    action = models.TextField()
    reason = models.TextField()
    reference = models.TextField(blank=True)
    amount = models.BigIntegerField(null=True, help_text="What the saga is about, in minor units.")
    currency = models.TextField(blank=True)
    status = models.TextField(choices=Status.choices, default=Status.REQUESTED)
    requested_by = models.TextField()
    requested_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(null=True, help_text="When the saga that was seen had last changed.")
    expires_at = models.DateTimeField()
    decided_by = models.TextField(blank=True)
    decided_at = models.DateTimeField(null=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("saga",),
                name="sagas_one_request_per_saga",
                condition=Q(status="REQUESTED", saga__isnull=False),
            ),
            models.UniqueConstraint(
                fields=("case",),
                name="sagas_one_request_per_case",
                condition=Q(status="REQUESTED", case__isnull=False),
            ),
        )

    def __str__(self) -> str:
        return f"Approval {self.pk}"


class OperatorAction(models.Model):
    """What a person did, append-only: who, when, on what, why, what was seen, what came of it."""

    at = models.DateTimeField(db_default=Now())
    operator = models.TextField()
    action = models.TextField()
    saga_id = models.UUIDField(null=True)
    key = models.UUIDField()
    case_id = models.BigIntegerField(null=True)
    reason = models.TextField()
    reference = models.TextField(blank=True)
    seen: models.JSONField[Any, Any] = models.JSONField(help_text="The state before the action.")
    result = models.TextField()
    approved_by = models.TextField(blank=True, db_default="")

    class Meta:
        ordering = ("-id",)
        permissions = (
            ("retry_case", "Can retry a stuck step"),
            ("skip_case", "Can skip a stuck step"),
            ("resolve_case", "Can resolve a stuck step by hand"),
            ("compensate_saga", "Can turn a saga back"),
            ("abandon_case", "Can abandon a saga"),
            ("approve_case", "Can approve what another person asked for"),
        )

    def __str__(self) -> str:
        return f"{self.operator}: {self.action} {self.key}"
