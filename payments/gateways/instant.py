"""A gateway inside the process that always says yes, for benchmarks and tests; production refuses it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from outbox.ledgers import Entry
from payments.gateways.protocol import ChargeMade, ChargeRequest, RefundMade, RefundRequest


class InstantGateway:
    """Takes and gives back any amount at once and remembers nothing: an answer of it cannot get lost."""

    name = "instant"
    keeps_ledger = False

    def charge(self, request: ChargeRequest) -> ChargeMade:
        """Say that the money was taken."""
        return ChargeMade(
            gateway=self.name,
            key=request.key,
            amount=request.amount,
            currency=request.currency,
            reference=f"instant-{request.key}",
        )

    def look_up(self, *, key: str) -> None:
        """Say that nothing is known of the key."""

    def refund(self, request: RefundRequest) -> RefundMade:
        """Say that the money was given back."""
        return RefundMade(key=request.key, reference=f"instant-{request.key}")

    def look_up_refund(self, *, key: str) -> None:
        """Say that nothing is known of the key."""

    def entries(
        self,
        *,
        since: datetime | None = None,  # noqa: ARG002 - it remembers none
        limit: int | None = None,  # noqa: ARG002
        order_ids: Sequence[str] = (),  # noqa: ARG002
    ) -> list[Entry]:
        """Return nothing."""
        return []
