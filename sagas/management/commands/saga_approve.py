"""Approves, or declines, what another person has asked for."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from outbox.commands import OperatorCommand, count_of, origin_name
from sagas import four_eyes, services
from sagas.commands import REFUSALS, acting, add_operator, add_reason


class Command(OperatorCommand):
    """`saga_approve APPROVAL --operator NAME [--decline] [--reason R]`."""

    help = "Carry out what another person has asked for, or decline it."
    refusals = REFUSALS

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument("approval", type=count_of, metavar="APPROVAL", help="its number, as the request named it")
        parser.add_argument("--decline", action="store_true", help="do not do it; whoever asked may take it back so")
        add_operator(parser)
        add_reason(parser, is_required=False)

    def handle(
        self, *_args: Any, approval: int, decline: bool, operator: str | None, reason: str, **_options: Any
    ) -> None:
        """Approve or decline, and say what came of it."""
        who = acting(operator, permission=four_eyes.PERMISSION)
        if decline:
            services.decline(approval_id=approval, operator=who, origin=origin_name(), reason=reason)
            result = "declined"
        else:
            result = services.approve(approval_id=approval, operator=who, origin=origin_name(), reason=reason)
        self.show({"approval": approval, "result": result}, f"approval {approval}: {result}")
