"""Delivers logged events to one consumer again: after it was away, or when it is new."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import datetime
from typing import Any
from uuid import UUID

from outbox.commands import OperatorCommand, id_of, origin_name, time_of
from sagas import switches
from sagas.commands import acting, add_operator, add_reason


class Command(OperatorCommand):
    """`outbox_replay --consumer C (--since T | --order ID) [--reason R]`."""

    help = "Deliver logged events to a consumer again; what it has handled stays handled."
    refusals = switches.REFUSALS

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument("--consumer", required=True, metavar="C", help="who gets them, by its name")
        bound = parser.add_mutually_exclusive_group(required=True)
        bound.add_argument("--since", type=time_of, metavar="T", help="events from this time on (ISO 8601, UTC)")
        bound.add_argument("--order", type=id_of, metavar="ID", help="events of this order")
        add_operator(parser)
        add_reason(parser, is_required=False)

    def handle(
        self,
        *_args: Any,
        consumer: str,
        since: datetime | None,
        order: UUID | None,
        operator: str | None,
        reason: str,
        **_options: Any,
    ) -> None:
        """Add the deliveries and say how many."""
        added = switches.replay(
            consumer=consumer,
            since=since,
            ordering_key=order,
            operator=acting(operator, permission=switches.PERMISSION),
            origin=origin_name(),
            reason=reason or "replay",
        )
        self.show({"consumer": consumer, "deliveries": added}, f"{added} deliveries added for {consumer}")
