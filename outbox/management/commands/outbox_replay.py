"""Delivers logged events to one consumer again: after it was away, or when it is new."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import datetime
from typing import Any
from uuid import UUID

from outbox.commands import OperatorCommand, id_of, time_of
from outbox.redrive import ReplayRefused, replay


class Command(OperatorCommand):
    """`outbox_replay --consumer C (--since T | --order ID)`."""

    help = "Deliver logged events to a consumer again; what it has handled stays handled."
    refusals = (ReplayRefused,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument("--consumer", required=True, metavar="C", help="who gets them, by its name")
        bound = parser.add_mutually_exclusive_group(required=True)
        bound.add_argument("--since", type=time_of, metavar="T", help="events from this time on (ISO 8601, UTC)")
        bound.add_argument("--order", type=id_of, metavar="ID", help="events of this order")

    def handle(self, *_args: Any, consumer: str, since: datetime | None, order: UUID | None, **_options: Any) -> None:
        """Add the deliveries and say how many."""
        added = replay(consumer=consumer, since=since, ordering_key=order)
        self.show({"consumer": consumer, "deliveries": added}, f"{added} deliveries added for {consumer}")
