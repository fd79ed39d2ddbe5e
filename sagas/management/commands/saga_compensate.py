"""Turns a running saga back."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from outbox.commands import OperatorCommand, origin_name
from sagas import services
from sagas.commands import REFUSALS, acting, add_operator, add_reason, add_saga, outcome
from sagas.selectors import find


class Command(OperatorCommand):
    """`saga_compensate ID --reason R`."""

    help = "Turn a running saga back from where it is; refused past the point of no return."
    refusals = REFUSALS

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        add_saga(parser)
        add_operator(parser)
        add_reason(parser)

    def handle(self, *_args: Any, any_id: UUID, operator: str | None, reason: str, **_options: Any) -> None:
        """Turn it back and say what came of it."""
        who = acting(operator, permission="sagas.compensate_saga")
        saga = find(any_id)
        result = services.compensate(saga_id=saga.pk, operator=who, origin=origin_name(), reason=reason)
        self.show(*outcome(saga=saga, action="compensate", result=result))
