"""Tells the story of an order: its sagas with their steps, and all that happened, in order of time."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import datetime
from typing import Any
from uuid import UUID

from outbox.commands import OperatorCommand, Table
from sagas import selectors
from sagas.commands import REFUSALS, add_saga


class Command(OperatorCommand):
    """`saga_show ID`, of an order or of one of its sagas."""

    help = "Show everything that happened to an order."
    refusals = REFUSALS

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        add_saga(parser)

    def handle(self, *_args: Any, any_id: UUID, **_options: Any) -> None:
        """Print the sagas of the order and its timeline."""
        story = selectors.timeline(selectors.find(any_id).key)
        self.show(
            story,
            f"Order {story['order_id']}",
            *(_steps(saga) for saga in story["sagas"]),
            Table(
                ["at", "kind", "what", "detail"],
                [[e["at"], e["kind"], e["what"], _detail(e)] for e in story["entries"]],
                title="Timeline",
            ),
        )


def _steps(saga: dict[str, Any]) -> Table:
    reason = f", {saga['reason']}" if saga["reason"] else ""
    return Table(
        ["step", "status", "direction", "started", "ended", "error"],
        [
            [s["step"], s["status"], s["direction"], _time(s["started_at"]), _time(s["ended_at"]), s["error"]]
            for s in saga["steps"]
        ],
        title=f"{saga['saga']} {saga['id']}: {saga['status']}{reason}",
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _detail(entry: dict[str, Any]) -> str:
    match entry["kind"]:
        case "attempt":
            return f"attempt {entry['attempt']}: {entry['error_class']}: {entry['error']}"
        case "operator":
            reference = f", reference {entry['reference']}" if entry["reference"] else ""
            return f"{entry['operator']}: {entry['reason']}{reference}; {entry['result']}"
        case "case":
            return f"{entry['status']}, {entry['owner']}"
        case _:
            step = f", {entry['step']} ({entry['direction']})" if entry["step"] else ""
            return f"from {entry['source']}{step}"
