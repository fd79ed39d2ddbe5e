"""Sends the stuck steps of a saga again."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from outbox.commands import OperatorCommand, operator_name
from sagas import services
from sagas.commands import REFUSALS, add_reason, add_saga, outcome
from sagas.selectors import find


class Command(OperatorCommand):
    """`saga_retry ID [--reason R]`."""

    help = "Send the stuck steps of a saga again with fresh attempts."
    refusals = REFUSALS

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        add_saga(parser)
        add_reason(parser, is_required=False)

    def handle(self, *_args: Any, any_id: UUID, reason: str, **_options: Any) -> None:
        """Retry and say what came of it."""
        saga = find(any_id)
        result = services.retry(saga_id=saga.pk, operator=operator_name(), reason=reason)
        self.show(*outcome(saga=saga, action="retry", result=result))
