"""Shows what waits in the outbox, which gateways are away, and whether a person is needed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from outbox import breaker, selectors
from outbox.commands import OperatorCommand, Table, found
from outbox.management.commands.breaker import table_of


class Command(OperatorCommand):
    """`outbox_status`: exit code 1 when there are dead deliveries."""

    help = "Show what waits for each destination, what is dead, and which gateways are away."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Print the queue by destination and lane, and the breakers."""
        rows = selectors.status()
        blocked = selectors.blocked_keys()
        breakers = breaker.statuses()
        self.show(
            {
                "destinations": [asdict(row) for row in rows],
                "blocked_keys": blocked,
                "breakers": [asdict(status) for status in breakers],
            },
            Table(
                ["destination", "lane", "waiting", "in flight", "dead", "oldest (s)"],
                [[r.destination, r.lane, r.waiting, r.in_flight, r.dead, f"{r.oldest_seconds:.1f}"] for r in rows],
            )
            if rows
            else "Nothing waits.",
            f"Blocked keys: {blocked}",
            table_of(breakers),
        )
        dead = sum(row.dead for row in rows)
        if dead:
            raise found(f"{dead} dead, waiting for a person")
