"""Shows what waits in the outbox, what is paused, which gateways are away, and whether a person is needed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from outbox import breaker, pausing, rates, selectors
from outbox.breaker import Status
from outbox.commands import OperatorCommand, Table, found
from outbox.models import Pause


class Command(OperatorCommand):
    """`outbox_status`: exit code 1 when there are dead deliveries."""

    help = "Show what waits for each destination, what is dead or paused, and which gateways are away."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Print the queue by destination and lane, and the breakers."""
        rows = selectors.status()
        blocked = selectors.blocked_keys()
        breakers = breaker.statuses()
        paused = pausing.pauses()
        rate = rates.rate()
        self.show(
            {
                "destinations": [asdict(row) for row in rows],
                "blocked_keys": blocked,
                "breakers": [asdict(status) for status in breakers],
                "paused": [_told(pause) for pause in paused],
                "compensations_per_second": rate.per_second,
            },
            Table(
                ["destination", "lane", "waiting", "in flight", "dead", "oldest (s)"],
                [[r.destination, r.lane, r.waiting, r.in_flight, r.dead, f"{r.oldest_seconds:.1f}"] for r in rows],
            )
            if rows
            else "Nothing waits.",
            f"Blocked keys: {blocked}",
            *([_paused_table(paused)] if paused else []),
            *([f"Compensations a second: {rate.per_second}, set by {rate.changed_by}"] if rate.is_changed else []),
            breakers_table(breakers),
        )
        dead = sum(row.dead for row in rows)
        if dead:
            raise found(f"{dead} dead, waiting for a person")


def breakers_table(statuses: list[Status]) -> Table:
    """Return the breakers as operators see them."""
    rows = [[s.gateway, s.state, s.failures, s.since, s.next_probe_at, s.held_by] for s in statuses]
    return Table(["gateway", "breaker", "failures in a row", "since", "next probe", "held by"], rows)


def _told(pause: Pause) -> dict[str, Any]:
    return {
        "destination": pause.destination,
        "compensations_only": pause.compensations_only,
        "since": pause.paused_at,
        "by": pause.paused_by,
        "reason": pause.reason,
    }


def _paused_table(pauses: list[Pause]) -> Table:
    rows = [
        [p.destination, "compensations" if p.compensations_only else "everything", p.paused_at, p.paused_by, p.reason]
        for p in pauses
    ]
    return Table(["paused", "what", "since", "by", "reason"], rows)
