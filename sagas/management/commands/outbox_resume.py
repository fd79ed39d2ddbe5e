"""Lets a paused destination go on."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from outbox.commands import OperatorCommand, origin_name
from sagas import switches
from sagas.commands import acting, add_operator, add_reason


class Command(OperatorCommand):
    """`outbox_resume DESTINATION [--reason R]`."""

    help = "Hand on again what waits for a paused destination, at once."
    refusals = switches.REFUSALS

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument("destination", metavar="DESTINATION", help="who goes on, by its name")
        add_operator(parser)
        add_reason(parser, is_required=False)

    def handle(self, *_args: Any, destination: str, operator: str | None, reason: str, **_options: Any) -> None:
        """Resume and say so."""
        who = acting(operator, permission=switches.PERMISSION)
        switches.resume(destination=destination, operator=who, origin=origin_name(), reason=reason or "resumed")
        self.show({"destination": destination, "result": "resumed"}, f"{destination} goes on")
