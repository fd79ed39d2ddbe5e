"""Keeps the partitions of the message log, for an owner who is not the role that the product runs as."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from outbox import retention
from outbox.commands import operator_name, origin_name
from sagas import switches


class Command(BaseCommand):
    """Safe to run at any time, as often as one likes."""

    help = "Make the partitions of the coming days and drop those past MESSAGE_RETENTION_DAYS; prints what it dropped."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Make and drop."""
        retention.create_partitions()
        dropped = retention.drop_expired()
        if dropped:
            switches.note_partitions(
                dropped=dropped, operator=operator_name(), origin=origin_name(), reason="past MESSAGE_RETENTION_DAYS"
            )
        for name in dropped:
            self.stdout.write(name)
