"""Shows the breakers of the gateways, and opens or closes one by hand."""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from outbox import breaker
from outbox.breaker import BreakerUnreachable, Status, UnknownGateway
from outbox.commands import OperatorCommand, Table, operator_name


class Command(OperatorCommand):
    """`breaker [--open NAME | --close NAME]`."""

    help = "Show which gateways are called; hold one open so that nobody calls it, or close it at once."
    refusals = (UnknownGateway, BreakerUnreachable)

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        change = parser.add_mutually_exclusive_group()
        change.add_argument("--open", metavar="NAME", help="let nobody call this gateway until it is closed by hand")
        change.add_argument("--close", metavar="NAME", help="let everybody call this gateway again, now")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Change what is wanted, and show all breakers."""
        if options["open"]:
            breaker.hold_open(gateway=options["open"], operator=operator_name())
        if options["close"]:
            breaker.close(gateway=options["close"], operator=operator_name())
        statuses = breaker.statuses()
        self.show({"breakers": [asdict(status) for status in statuses]}, table_of(statuses))


def table_of(statuses: list[Status]) -> Table:
    """Return the breakers as operators see them."""
    rows = [[s.gateway, s.state, s.failures, s.since, s.next_probe_at, s.held_by] for s in statuses]
    return Table(["gateway", "breaker", "failures in a row", "since", "next probe", "held by"], rows)
