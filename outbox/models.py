"""The tables of reliable messaging, one set per database, so that a context with its own database stays atomic.

`Message` says what was said, for ever; `Delivery` what is still to be handed to one destination; `InboxEntry` and
`BarrierEntry` what was already handled; `Attempt` what went wrong on the way; `GatewayCall` what the outside world was
asked and said.
"""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models.functions import Now

from outbox.idempotency import IdempotencyKey

__all__ = [
    "Attempt",
    "BarrierEntry",
    "Delivery",
    "GatewayCall",
    "IdempotencyKey",
    "InboxEntry",
    "Lane",
    "Message",
    "Pause",
    "TokenBucket",
]


class Lane(models.TextChoices):
    """The Celery queue that works on a delivery; separate, so that a storm in one cannot starve another."""

    RELAY = "relay"
    EFFECTS = "effects"
    COMPENSATIONS = "compensations"


class Message(models.Model):
    """The append-only log, partitioned by day. A trigger refuses UPDATE, DELETE and TRUNCATE.

    The table is made by hand in the first migration, since Django knows no partitions; there its primary key is
    (id, time). `sequence` grows in commit order within one ordering key, because it is drawn while the publisher
    holds the lock on that key's aggregate.
    """

    id = models.UUIDField(primary_key=True)
    time = models.DateTimeField()
    sequence = models.BigIntegerField()
    kind = models.TextField()
    type = models.TextField()
    version = models.SmallIntegerField()
    source = models.TextField()
    ordering_key = models.UUIDField()
    correlation_id = models.UUIDField(null=True)
    causation_id = models.UUIDField(null=True)
    headers: models.JSONField[Any, Any] = models.JSONField()
    payload: models.JSONField[Any, Any] = models.JSONField()

    class Meta:
        managed = False
        db_table = "outbox_message"
        ordering = ("-time", "-sequence")
        get_latest_by = "sequence"

    def __str__(self) -> str:
        return f"{self.type} {self.id}"


class Delivery(models.Model):
    """One message for one destination; deleted when settled, kept with `dead_at` when it could not be delivered.

    `id` is its place in the order of its key. `available_at` is due time and lease in one: in the future while a
    relay works on the row (`token` set), while it rests before a retry (`token` empty), and in the year 9999 when dead.
    """

    id = models.BigAutoField(primary_key=True)
    message_id = models.UUIDField()
    message_time = models.DateTimeField()
    destination = models.TextField()
    lane = models.TextField(choices=Lane.choices)
    kind = models.TextField()
    type = models.TextField()
    ordering_key = models.UUIDField()
    available_at = models.DateTimeField(db_default=Now())
    attempts = models.SmallIntegerField(db_default=0)
    token = models.UUIDField(null=True)
    dead_at = models.DateTimeField(null=True)
    error_class = models.TextField(db_default="")
    error = models.TextField(db_default="")
    fingerprint = models.TextField(db_default="")

    class Meta:
        verbose_name_plural = "deliveries"
        indexes = (
            models.Index(fields=("lane", "destination", "available_at"), name="outbox_delivery_due"),
            models.Index(fields=("ordering_key", "destination", "id"), name="outbox_delivery_order"),
            models.Index(fields=("dead_at",), name="outbox_delivery_dead", condition=models.Q(dead_at__isnull=False)),
        )

    def __str__(self) -> str:
        return f"{self.type} → {self.destination}"


class Attempt(models.Model):
    """One failed try of a delivery: the append-only trail of what went wrong, when, and what was decided."""

    class Decision(models.TextChoices):
        """What followed from a failed try."""

        RETRY = "retry"
        GIVEN_UP = "given_up"
        DEAD = "dead"
        WITHDRAWN = "withdrawn"

    at = models.DateTimeField(db_default=Now())
    message_id = models.UUIDField()
    ordering_key = models.UUIDField(db_index=True)
    destination = models.TextField()
    type = models.TextField()
    attempt = models.SmallIntegerField()
    decision = models.TextField(choices=Decision.choices)
    error_class = models.TextField()
    error = models.TextField()
    fingerprint = models.TextField()

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.type} → {self.destination} #{self.attempt}: {self.error_class}"


class GatewayCall(models.Model):
    """One call of the outside world as it went: append-only, partitioned by day and pruned like the log.

    `request` and `answer` are JSON where they can be read, without card and personal data. `status` is empty when
    there was no answer; `error` says why. The table is made by hand, since Django knows no partitions; there its
    primary key is (id, started_at).
    """

    id = models.BigIntegerField(primary_key=True)
    started_at = models.DateTimeField()
    milliseconds = models.IntegerField()
    gateway = models.TextField()
    operation = models.TextField()
    method = models.TextField()
    path = models.TextField()
    key = models.TextField()
    request = models.TextField()
    status = models.SmallIntegerField(null=True)
    answer = models.TextField()
    outcome = models.TextField()
    error = models.TextField()
    ordering_key = models.UUIDField(help_text="The order id.")
    message_id = models.UUIDField(null=True)
    attempt = models.SmallIntegerField()
    trace_id = models.TextField()

    class Meta:
        managed = False
        db_table = "outbox_gateway_call"
        ordering = ("-id",)
        # What the outside world was asked and said is the heart of an order's evidence.
        permissions = (("export_evidence", "Can download the evidence of an order"),)

    def __str__(self) -> str:
        return f"{self.gateway} {self.operation} {self.pk}"


class InboxEntry(models.Model):
    """An event that a consumer has handled: the second delivery of it does nothing."""

    pk = models.CompositePrimaryKey("consumer", "message_id")
    consumer = models.TextField()
    message_id = models.UUIDField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "outbox_inbox"
        verbose_name_plural = "inbox entries"

    def __str__(self) -> str:
        return f"{self.consumer} {self.message_id}"


class BarrierEntry(models.Model):
    """A place taken by one direction of one step: settles duplicate, empty and late commands (after dtm).

    A compensation takes its own place and tries to take the action's; whoever comes second finds it taken. A place
    that was taken before a call to the outside world becomes `settled` when the outcome is recorded.
    """

    pk = models.CompositePrimaryKey("saga_id", "step", "direction")
    saga_id = models.UUIDField()
    step = models.TextField()
    direction = models.TextField()
    message_id = models.UUIDField()
    settled = models.BooleanField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "outbox_barrier"
        verbose_name_plural = "barrier entries"

    def __str__(self) -> str:
        return f"{self.saga_id} {self.step} {self.direction}"


class TokenBucket(models.Model):
    """A limit shared by all workers: one row, so that two disjoint snapshots cannot overspend it.

    `per_second` is an operator's, in the place of the setting's; empty while the setting's holds.
    """

    name = models.TextField(primary_key=True)
    tokens = models.FloatField()
    refilled_at = models.DateTimeField(db_default=Now())
    per_second = models.IntegerField(null=True)
    changed_by = models.TextField(blank=True, db_default="")
    changed_at = models.DateTimeField(null=True)
    reason = models.TextField(blank=True, db_default="")

    def __str__(self) -> str:
        return self.name


class Pause(models.Model):
    """A destination that a person has stopped: what is said to it waits, whole and in order, until it is resumed.

    The last pause of each destination, also once it is over: what has been due since before `resumed_at` was not
    forgotten by anybody.
    """

    destination = models.TextField(primary_key=True)
    compensations_only = models.BooleanField(default=False)
    paused_at = models.DateTimeField(db_default=Now())
    paused_by = models.TextField()
    reason = models.TextField()
    resumed_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.destination
