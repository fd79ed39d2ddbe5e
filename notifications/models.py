"""The table of notifications: which e-mail went out.

It keeps no address and no text; those stay where they belong.
"""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class Email(models.Model):
    """One e-mail that was handed to the mail server, for one event (`message_id` is the event's)."""

    message_id = models.UUIDField(primary_key=True)
    order_id = models.UUIDField(db_index=True)
    event = models.CharField(max_length=64)
    sent_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = "e-mail"

    def __str__(self) -> str:
        return f"{self.event} {self.order_id}"
