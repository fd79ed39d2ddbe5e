"""Tells which versions of sagas are in flight, and which of them this release does not have."""

from __future__ import annotations

from typing import Any

from outbox.commands import OperatorCommand, Table, found
from sagas import selectors
from sagas.definition import definitions


class Command(OperatorCommand):
    """`saga_versions`: exit code 1 when this release would orphan sagas; run it before the release takes over."""

    help = "List the versions in flight; exit 1 when this release lacks one."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Print name, version and number of live sagas."""
        live, lacking = selectors.in_flight(), selectors.orphaned(definitions())
        self.show(
            {"in_flight": _rows(live), "orphaned": _rows(lacking)},
            Table(
                ["saga", "version", "in flight", "this release"],
                [[*row, "lacks it" if row in lacking else "has it"] for row in live],
            )
            if live
            else "No saga is in flight.",
        )
        if lacking:
            raise found(f"{sum(many for _, _, many in lacking)} sagas would be orphaned")


def _rows(counted: list[tuple[str, int, int]]) -> list[dict[str, Any]]:
    return [{"saga": name, "version": version, "sagas": many} for name, version, many in counted]
