"""Shows the breakers of the gateways, and opens or closes one by hand."""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from outbox import breaker
from outbox.commands import OperatorCommand, origin_name
from outbox.management.commands.outbox_status import breakers_table
from sagas import switches
from sagas.commands import acting, add_operator, add_reason


class Command(OperatorCommand):
    """`breaker [--open NAME | --close NAME] [--reason R]`."""

    help = "Show which gateways are called; hold one open so that nobody calls it, or close it at once."
    refusals = switches.REFUSALS

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        change = parser.add_mutually_exclusive_group()
        change.add_argument("--open", metavar="NAME", help="let nobody call this gateway until it is closed by hand")
        change.add_argument("--close", metavar="NAME", help="let everybody call this gateway again, now")
        add_operator(parser)
        add_reason(parser, is_required=False)

    def handle(self, *_args: Any, operator: str | None, reason: str, **options: Any) -> None:
        """Change what is wanted, and show all breakers."""
        if options["open"]:
            who = acting(operator, permission=switches.PERMISSION)
            why = reason or "held open"
            switches.hold_breaker_open(gateway=options["open"], operator=who, origin=origin_name(), reason=why)
        if options["close"]:
            who = acting(operator, permission=switches.PERMISSION)
            why = reason or "closed"
            switches.close_breaker(gateway=options["close"], operator=who, origin=origin_name(), reason=why)
        statuses = breaker.statuses()
        self.show({"breakers": [asdict(status) for status in statuses]}, breakers_table(statuses))
