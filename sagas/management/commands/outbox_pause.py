"""Stops a destination: what is said to it waits until it is resumed."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from outbox.commands import OperatorCommand, origin_name
from sagas import switches
from sagas.commands import acting, add_operator, add_reason


class Command(OperatorCommand):
    """`outbox_pause DESTINATION --reason R [--compensations]`."""

    help = "Hand nothing more to a destination until it is resumed; nothing is lost, no attempt is counted."
    refusals = switches.REFUSALS

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument("destination", metavar="DESTINATION", help="who gets nothing more, by its name")
        parser.add_argument("--compensations", action="store_true", help="hold back nothing but compensations")
        add_operator(parser)
        add_reason(parser)

    def handle(
        self,
        *_args: Any,
        destination: str,
        compensations: bool,
        operator: str | None,
        reason: str,
        **_options: Any,
    ) -> None:
        """Pause and say so."""
        who = acting(operator, permission=switches.PERMISSION)
        switches.pause(
            destination=destination,
            operator=who,
            origin=origin_name(),
            reason=reason,
            compensations_only=compensations,
        )
        what = f"the compensations of {destination} are" if compensations else f"{destination} is"
        self.show(
            {"destination": destination, "compensations_only": compensations, "result": "paused"},
            f"{what} paused; go on with: outbox_resume {destination} --reason R",
        )
