"""The rows of coordination: running and ended sagas, cases for people, and what people did."""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVector
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from sagas.states import LIVE, SagaStatus


class SagaInstance(models.Model):
    """One run of a saga.

    It keeps name and version of its definition, never a class path. `steps` holds the state of every step, so that
    one event costs one row update; `due_at` is the next deadline. No index covers what changes while it runs, so
    that those updates stay within their page (HOT); `reason`, which the desk has an index of, changes with the status.
    The row stays after the end: it is the tombstone that keeps a late message from starting the saga again.
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


def words_of_error() -> SearchVector:
    """Return what a case is found by when a text is looked for; exactly what the index of that search is made of."""
    return SearchVector("error_class", "error", config="simple")


class Case(models.Model):
    """A file on the operators' desk: something that cannot go on by itself, with an owner and a due time.

    The owner is the team that is asked until a person claims it: `claimed_at` tells the one from the other. `amount`,
    in minor units, is the money that hangs on it; empty where none is known to.
    """

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
    amount = models.BigIntegerField(null=True, help_text="The money that hangs on it, in minor units.")
    currency = models.TextField(blank=True, db_default="")
    owner = models.TextField()
    claimed_at = models.DateTimeField(null=True, help_text="Since when a person has it; empty while nobody does.")
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
        permissions = (
            ("claim_case", "Can claim a case, release it, and take it over"),
            ("note_case", "Can add a note to a case"),
        )
        # One for each order, filter and search of the desk's list, so that none of them reads all cases.
        indexes = (
            models.Index(fields=("due_at",), name="sagas_case_open", condition=Q(status="OPEN")),
            models.Index(fields=("opened_at",), name="sagas_case_opened", condition=Q(status="OPEN")),
            models.Index(fields=("closed_at", "id"), name="sagas_case_closed", condition=Q(status="CLOSED")),
            models.Index(
                F("status").desc(),
                F("closed_at").desc(nulls_first=True),
                F("due_at"),
                F("id"),
                name="sagas_case_urgency",
            ),
            models.Index(fields=("fingerprint", "status", "due_at"), name="sagas_case_group"),
            models.Index(fields=("step", "direction", "status", "due_at"), name="sagas_case_step"),
            models.Index(fields=("error_class", "status", "due_at"), name="sagas_case_class"),
            models.Index(fields=("currency", "amount"), name="sagas_case_amount", condition=Q(status="OPEN")),
            models.Index(
                fields=("owner", "due_at"),
                include=("fingerprint",),
                name="sagas_case_owner",
                condition=Q(status="OPEN", claimed_at__isnull=False),
            ),
            models.Index(
                fields=("due_at",), name="sagas_case_nobodys", condition=Q(status="OPEN", claimed_at__isnull=True)
            ),
            # The sums of all groups are read off this one alone.
            models.Index(
                fields=("fingerprint", "currency"),
                include=("amount", "opened_at", "due_at", "claimed_at", "id"),
                name="sagas_case_sums",
                condition=Q(status="OPEN"),
            ),
            models.Index(fields=("resolution", "closed_at"), name="sagas_case_ended", condition=Q(status="CLOSED")),
            models.Index(fields=("key",), name="sagas_case_key"),
            models.Index(fields=("message_id",), name="sagas_case_message"),
            GinIndex(words_of_error(), name="sagas_case_words"),
        )

    def __str__(self) -> str:
        return f"Case {self.pk}"

    @property
    def is_claimed(self) -> bool:
        """Whether a person has it, and not the whole team."""
        return self.claimed_at is not None


class CaseNote(models.Model):
    """What a person wrote on a case, for whoever works on it next. Append-only: a trigger refuses every change."""

    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="notes")
    at = models.DateTimeField(db_default=Now())
    author = models.TextField()
    origin = models.TextField(blank=True, db_default="", help_text="The address of the desk's visitor, or the host.")
    text = models.TextField()

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return f"{self.author} on case {self.case_id}"


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
    details: models.JSONField[Any, Any] = models.JSONField(
        null=True, help_text="What else the action takes: an edited payload, say."
    )
    amount = models.BigIntegerField(null=True, help_text="What the saga is about, in minor units.")
    currency = models.TextField(blank=True)
    status = models.TextField(choices=Status.choices, default=Status.REQUESTED)
    requested_by = models.TextField()
    origin = models.TextField(blank=True, db_default="", help_text="Where it was asked from.")
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
        # What waits is what the inbox, the sweep and the gauge look at.
        indexes = (
            models.Index(fields=("expires_at",), name="sagas_approval_waiting", condition=Q(status="REQUESTED")),
        )

    def __str__(self) -> str:
        return f"Approval {self.pk}"


class OperatorAction(models.Model):
    """What a person did, append-only: who, when, from where, on what, why, what was seen, what came of it.

    `sagas.operator_log` is its only writer. `key` is empty for what concerns no order: a switch, say.
    """

    at = models.DateTimeField(db_default=Now())
    operator = models.TextField()
    origin = models.TextField(blank=True, db_default="", help_text="The address of the desk's visitor, or the host.")
    action = models.TextField()
    saga_id = models.UUIDField(null=True)
    key = models.UUIDField(null=True)
    case_id = models.BigIntegerField(null=True)
    reason = models.TextField()
    reference = models.TextField(blank=True)
    seen: models.JSONField[Any, Any] = models.JSONField(help_text="The state before the action.")
    result = models.TextField()
    approved_by = models.TextField(blank=True, db_default="")

    class Meta:
        ordering = ("-id",)
        verbose_name = "line of the operator log"
        verbose_name_plural = "operator log"
        permissions = (
            ("retry_case", "Can retry a stuck step"),
            ("skip_case", "Can skip a stuck step"),
            ("resolve_case", "Can resolve a stuck step by hand"),
            ("compensate_saga", "Can turn a saga back"),
            ("abandon_case", "Can abandon a saga"),
            ("approve_case", "Can approve what another person asked for"),
            ("export_log", "Can export the operator log"),
            ("switch", "Can pause destinations and turn the other switches"),
            ("edit_message", "Can edit a message that could not be handled, and send it again"),
            ("redeliver_message", "Can deliver an event to a consumer again"),
            ("cancel_order", "Can cancel an order"),
        )
        # For the filters of its page, and for the pages of a case, a saga and an order.
        indexes = (
            models.Index(fields=("at",), name="sagas_log_at"),
            models.Index(fields=("operator", "id"), name="sagas_log_operator"),
            models.Index(fields=("action", "id"), name="sagas_log_action"),
            models.Index(fields=("result", "id"), name="sagas_log_result"),
            models.Index(fields=("key",), name="sagas_log_key"),
            models.Index(fields=("saga_id",), name="sagas_log_saga"),
            models.Index(fields=("case_id",), name="sagas_log_case"),
        )

    def __str__(self) -> str:
        return f"{self.operator}: {self.action} {self.key or self.seen.get('about', '')}".strip()
