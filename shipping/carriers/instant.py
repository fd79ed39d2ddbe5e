"""A carrier inside the process that takes every parcel, for benchmarks and tests; production refuses it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from outbox.ledgers import Entry
from shipping.carriers.protocol import ShipmentMade, ShipmentRequest


class InstantCarrier:
    """Takes and stops any parcel at once and remembers nothing: an answer of it cannot get lost."""

    name = "instant"
    keeps_ledger = False

    def create(self, request: ShipmentRequest) -> ShipmentMade:
        """Say that the parcel is on its way."""
        return ShipmentMade(carrier=self.name, tracking=f"INSTANT-{request.order_id}")

    def look_up(self, *, key: str) -> None:
        """Say that nothing is known of the key."""

    def cancel(self, *, key: str) -> bool:  # noqa: ARG002 - it remembers none
        """Say that the parcel was stopped."""
        return True

    def entries(
        self,
        *,
        since: datetime | None = None,  # noqa: ARG002 - it remembers none
        limit: int | None = None,  # noqa: ARG002
        order_ids: Sequence[str] = (),  # noqa: ARG002
    ) -> list[Entry]:
        """Return nothing."""
        return []
