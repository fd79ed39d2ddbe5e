"""A carrier inside the process that takes every parcel, for benchmarks and tests; production refuses it."""

from __future__ import annotations

from shipping.carriers.protocol import ShipmentMade, ShipmentRequest


class InstantCarrier:
    """Takes and stops any parcel at once and remembers nothing: an answer of it cannot get lost."""

    name = "instant"

    def create(self, request: ShipmentRequest) -> ShipmentMade:
        """Say that the parcel is on its way."""
        return ShipmentMade(carrier=self.name, tracking=f"INSTANT-{request.order_id}")

    def look_up(self, *, key: str) -> None:
        """Say that nothing is known of the key."""

    def cancel(self, *, key: str) -> bool:  # noqa: ARG002 - it remembers none
        """Say that the parcel was stopped."""
        return True
