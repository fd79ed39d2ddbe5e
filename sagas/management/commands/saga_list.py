"""Lists sagas, newest first."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from outbox.commands import OperatorCommand, Table, count_of
from sagas import selectors
from sagas.states import SagaStatus


class Command(OperatorCommand):
    """`saga_list [--status S] [--limit N]`."""

    help = "List sagas, newest first."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        statuses = [status.value for status in SagaStatus]
        parser.add_argument("--status", type=str.upper, choices=statuses, help="only those of this status")
        parser.add_argument("--limit", type=count_of, metavar="N", help="at most so many (default: all)")

    def handle(self, *_args: Any, status: str | None, limit: int | None, **_options: Any) -> None:
        """Print one line per saga."""
        sagas = [selectors.describe(saga) for saga in selectors.sagas(status=status)[:limit].iterator()]
        columns = ("order_id", "saga", "status", "reason", "started_at", "ended_at")
        self.show(
            sagas,
            Table([name.removesuffix("_at").replace("_id", "") for name in columns], _rows(sagas, columns))
            if sagas
            else "No sagas.",
        )


def _rows(sagas: list[dict[str, Any]], columns: tuple[str, ...]) -> list[list[object]]:
    return [[saga[name] for name in columns] for saga in sagas]
