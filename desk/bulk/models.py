"""The rows of a bulk run: what many cases were chosen for, and how far it has come with each of them."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from outbox.money import to_text


class BulkRun(models.Model):
    """One action on a frozen set of cases, asked for by a person, carried out row by row.

    The set is written once, with the run, and never grows. `operator` is in whose name the rows are done: whoever
    started it, or resumed it last. `due_at` is when the next row may be done, so the throttle holds over all workers.
    `canary_position` is the row that was tried first; the others wait for what becomes of it.
    """

    class Phase(models.TextChoices):
        """How far it has come."""

        PREVIEW = "PREVIEW", "preview"
        CANARY = "CANARY", "trying the first one"
        WAITING = "WAITING", "waits for you"
        RUNNING = "RUNNING", "running"
        STOPPED = "STOPPED", "stopped"
        DONE = "DONE", "done"

    action = models.TextField()
    source = models.TextField(blank=True, help_text="How the set was chosen, in words.")
    size = models.IntegerField(help_text="How many cases were chosen; the set is frozen.")
    phase = models.TextField(choices=Phase.choices, default=Phase.PREVIEW)
    note = models.TextField(blank=True, help_text="Why it stands where it stands, in words.")
    operator = models.TextField()
    origin = models.TextField(blank=True)
    reason = models.TextField(blank=True)
    reference = models.TextField(blank=True)
    per_second = models.SmallIntegerField(default=5)
    goes_on = models.BooleanField(default=False, help_text="Go on by itself once the first one has succeeded.")
    canary_position = models.IntegerField(null=True)
    requested_by = models.TextField()
    requested_at = models.DateTimeField(db_default=Now())
    started_by = models.TextField(blank=True)
    started_at = models.DateTimeField(null=True)
    stopped_by = models.TextField(blank=True, help_text="Who stopped it; empty when it stopped by itself.")
    stopped_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = "bulk run"
        default_permissions = ("view",)
        permissions = (("run_bulk", "Can act on many cases at once"),)
        indexes = (
            models.Index(fields=("due_at",), name="desk_bulk_at_work", condition=Q(phase__in=("CANARY", "RUNNING"))),
            models.Index(fields=("requested_at",), name="desk_bulk_previews", condition=Q(phase="PREVIEW")),
        )

    def __str__(self) -> str:
        return f"Bulk run {self.pk}"


# A worker does its rows; or a person has to say whether it goes on.
AT_WORK = (BulkRun.Phase.CANARY, BulkRun.Phase.RUNNING)
LIVE = (*AT_WORK, BulkRun.Phase.WAITING)


class BulkRow(models.Model):
    """One case of the set: as it was when the set was frozen, and what came of it.

    `is_held` while a live run has yet to come to it: no second run may hold the same case. `seen_at` is when the
    case's saga had last changed, or its message died. `look_at` is when somebody next looks what became of what was
    requested.
    """

    class Status(models.TextChoices):
        """What came of it, so far."""

        WAITING = "WAITING", "waiting"
        REQUESTED = "REQUESTED", "requested"
        AWAITS_APPROVAL = "AWAITS_APPROVAL", "awaits approval"
        DONE = "DONE", "done"
        FAILED_AGAIN = "FAILED_AGAIN", "failed again"
        OVERTAKEN = "OVERTAKEN", "overtaken"
        REFUSED = "REFUSED", "refused"

    run = models.ForeignKey(BulkRun, on_delete=models.CASCADE, related_name="rows")
    position = models.IntegerField()
    case_id = models.BigIntegerField()
    key = models.UUIDField(null=True, help_text="The order id; empty for a case that does not exist.")
    fingerprint = models.TextField(blank=True)
    group = models.TextField(blank=True, help_text="The failure group, in words.")
    step = models.TextField(blank=True, help_text="The stuck step and its direction, or who could not take a message.")
    amount = models.BigIntegerField(null=True, help_text="The money that hangs on it, in minor units.")
    currency = models.TextField(blank=True)
    calls = models.TextField(blank=True, help_text="What is sent for it, in words.")
    needs_approval = models.BooleanField(default=False)
    seen_at = models.DateTimeField(null=True)
    status = models.TextField(choices=Status.choices, default=Status.WAITING)
    is_held = models.BooleanField(default=False)
    result = models.TextField(blank=True)
    action_id = models.BigIntegerField(null=True, help_text="Its line in the operator log.")
    next_case_id = models.BigIntegerField(null=True, help_text="The case that it ended in when it has failed again.")
    at = models.DateTimeField(null=True)
    look_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "case of a bulk run"
        verbose_name_plural = "cases of bulk runs"
        default_permissions = ("view",)
        constraints = (
            models.UniqueConstraint(fields=("run", "case_id"), name="desk_bulk_case_once"),
            models.UniqueConstraint(fields=("run", "position"), name="desk_bulk_position_once"),
            models.UniqueConstraint(fields=("case_id",), name="desk_bulk_one_live_run", condition=Q(is_held=True)),
        )
        indexes = (
            models.Index(fields=("run", "status", "position"), name="desk_bulk_outcome"),
            models.Index(
                fields=("look_at",),
                name="desk_bulk_unsettled",
                condition=Q(status__in=("REQUESTED", "AWAITS_APPROVAL")),
            ),
        )

    def __str__(self) -> str:
        return f"Case {self.case_id} of bulk run {self.run_id}"

    @property
    def money(self) -> str:
        """The amount with its currency; a dash where none is known."""
        if self.amount is None:
            return "-"
        return f"{to_text(minor_units=self.amount, currency=self.currency)} {self.currency}".strip()


# Nobody knows yet what became of it.
UNSETTLED = (BulkRow.Status.REQUESTED, BulkRow.Status.AWAITS_APPROVAL)
