"""Lets somebody sign in again who has tried too many wrong passwords."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from config.lockout import unlock
from outbox.commands import OperatorCommand, operator_name, origin_name
from sagas.commands import add_reason


class Command(OperatorCommand):
    """`desk_unlock NAME --reason R`."""

    help = "Forget the failed sign-ins of a name, from every address."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument("name", metavar="NAME", help="the name that was tried")
        add_reason(parser)

    def handle(self, *_args: Any, name: str, reason: str, **_options: Any) -> None:
        """Unlock and say how many failures are forgotten."""
        failures = unlock(username=name, operator=operator_name(), origin=origin_name(), reason=reason)
        text = f"{name}: {failures} failed sign-ins are forgotten" if failures else f"{name}: nothing to unlock"
        self.show({"name": name, "failures": failures}, text)
