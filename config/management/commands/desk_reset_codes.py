"""Takes away the one-time codes of somebody who lost phone and recovery codes, where no administrator can come in."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User

from config.second_factor import devices
from outbox.commands import OperatorCommand, operator_name, origin_name
from sagas.commands import add_reason


class UnknownUser(ValueError):
    """The desk knows nobody of that name."""


class Command(OperatorCommand):
    """`desk_reset_codes NAME --reason R`."""

    help = "Reset the one-time codes of a person of the desk."
    refusals = (UnknownUser,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument("name", metavar="NAME", help="the person's user name")
        add_reason(parser)

    def handle(self, *_args: Any, name: str, reason: str, **_options: Any) -> None:
        """Reset and say whether there were any."""
        user = User.objects.filter(username=name, is_staff=True).first()
        if user is None:
            raise UnknownUser(f"the desk knows nobody called {name!r}")
        had = devices.reset(user=user, operator=operator_name(), origin=origin_name(), reason=reason)
        text = f"{name}: one-time codes are reset" if had else f"{name}: has no one-time codes"
        self.show({"name": name, "reset": had}, text)
