"""What shipping needs of a carrier, whoever it is: parcels are named by a key, and can be looked up by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias
from uuid import UUID

from outbox.ledgers import Entry
from shipping.contracts import Address, Line


@dataclass(frozen=True, slots=True, kw_only=True)
class ShipmentRequest:
    """Bring an order's lines to an address."""

    key: str
    order_id: UUID
    address: Address
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShipmentMade:
    """The carrier has the parcel, and this is how it can be followed."""

    carrier: str
    tracking: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShipmentRefused:
    """The carrier will not bring this parcel to this address."""

    carrier: str
    code: str
    detail: str


ShipmentAnswer: TypeAlias = ShipmentMade | ShipmentRefused


class Carrier(Protocol):
    """A parcel service.

    Every method calls the outside world: none may be called while a transaction is open. Each raises
    `NothingDone` when the carrier is away, `TransientError` when there was no answer in time (what was asked
    may have been done, or may yet be done), and `UnforeseenAnswer` for an answer that makes no sense.
    """

    name: str
    # Whether `entries` tells of everything: what remembers nothing cannot be compared with.
    keeps_ledger: bool

    def create(self, request: ShipmentRequest) -> ShipmentAnswer:
        """Hand over one parcel per key, however often it is asked."""

    def look_up(self, *, key: str) -> ShipmentMade | None:
        """Return the parcel with this key; None when the carrier has none, or has refused it."""

    def cancel(self, *, key: str) -> bool:
        """Stop the parcel with this key.

        Safe to repeat. Returns False when the carrier has no such parcel.
        """

    def entries(
        self, *, since: datetime | None = None, limit: int | None = None, order_ids: Sequence[str] = ()
    ) -> list[Entry]:
        """Return what the carrier has entered, oldest first, as `shipment` and `cancellation`.

        Of the named orders, or of all; from this time by the carrier's clock, or from the beginning; at most so many.
        """
