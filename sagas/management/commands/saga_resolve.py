"""Records that a person has done the stuck steps of a saga by hand."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from outbox.commands import OperatorCommand, origin_name
from sagas import services
from sagas.commands import REFUSALS, acting, add_operator, add_reason, add_saga, outcome
from sagas.selectors import find


class Command(OperatorCommand):
    """`saga_resolve ID --reason R --reference X`."""

    help = "Record that the stuck steps of a saga were done by hand."
    refusals = REFUSALS

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        add_saga(parser)
        add_operator(parser)
        add_reason(parser)
        parser.add_argument(
            "--reference", required=True, metavar="X", help="where it can be looked up: a ticket, a transfer"
        )

    def handle(
        self, *_args: Any, any_id: UUID, operator: str | None, reason: str, reference: str, **_options: Any
    ) -> None:
        """Resolve and say what came of it."""
        who = acting(operator, permission="sagas.resolve_case")
        saga = find(any_id)
        result = services.resolve(
            saga_id=saga.pk, operator=who, origin=origin_name(), reason=reason, reference=reference
        )
        self.show(*outcome(saga=saga, action="resolve", result=result))
