"""A bank and a carrier inside the process that lose answers on request, and remember what they really did."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from uuid import UUID

from outbox.consumers import TransientError
from outbox.ledgers import Entry
from outbox.outside import NothingDone
from payments.gateways.protocol import (
    ChargeAnswer,
    ChargeDeclined,
    ChargeMade,
    ChargeRequest,
    RefundMade,
    RefundRefused,
    RefundRequest,
)
from shipping.carriers.protocol import ShipmentAnswer, ShipmentMade, ShipmentRefused, ShipmentRequest

DECLINED, REFUND_REFUSED = "pm_card_visa_chargeDeclined", "pm_sim_refund_refused"
REFUSED_COUNTRY = "AQ"


class Mood(Enum):
    """What becomes of the next call that changes something."""

    WELL = "it is done and answered"
    ANSWER_LOST = "it is done, and the answer is lost"
    SILENT = "it is not done, and nobody says so"
    AWAY = "it is certainly not done"


class World:
    """Both ledgers, and the moods of the calls to come."""

    name = "instant"
    keeps_ledger = False

    def __init__(self) -> None:
        self.moods: list[Mood] = []
        self.taken: dict[str, tuple[UUID, int]] = {}
        self.given_back: dict[str, tuple[str, int]] = {}
        self.parcels: dict[str, UUID] = {}
        self.stopped: set[str] = set()
        self._refusing: set[str] = set()
        self._lock = threading.Lock()

    def kept(self, order_id: UUID) -> int:
        """Return what the bank keeps for an order."""
        charges = {key: amount for key, (owner, amount) in self.taken.items() if owner == order_id}
        return sum(charges.values()) - sum(amount for key, amount in self.given_back.values() if key in charges)

    def charges(self) -> Counter[UUID]:
        """Count the charges of each order."""
        with self._lock:
            return Counter(owner for owner, _ in self.taken.values())

    def on_their_way(self) -> Counter[UUID]:
        """Count the live parcels of each order."""
        return Counter(owner for key, owner in self.parcels.items() if key not in self.stopped)

    def entries(
        self,
        *,
        since: datetime | None = None,  # noqa: ARG002 - nothing is shown
        limit: int | None = None,  # noqa: ARG002
        order_ids: Sequence[str] = (),  # noqa: ARG002
    ) -> list[Entry]:
        """Show nothing: what it did is for the test to know."""
        return []

    def _enter(self) -> Mood:
        mood = self.moods.pop(0) if self.moods else Mood.WELL
        if mood is Mood.AWAY:
            raise NothingDone("away")
        if mood is Mood.SILENT:
            raise TransientError("no answer")
        return mood

    def _leave(self, mood: Mood) -> None:
        if mood is Mood.ANSWER_LOST:
            raise TransientError("no answer, though it is done")


class Bank(World):
    """The gateway."""

    def charge(self, request: ChargeRequest) -> ChargeAnswer:
        """Take money once per key."""
        with self._lock:
            mood = self._enter()
            if request.payment_method == DECLINED:
                return ChargeDeclined(gateway=self.name, key=request.key, code="card_declined")
            self.taken[request.key] = request.order_id, request.amount
            if request.payment_method == REFUND_REFUSED:
                self._refusing.add(request.key)
            self._leave(mood)
            return self._made(request.key)

    def look_up(self, *, key: str) -> ChargeAnswer | None:
        """Tell what is known of a key."""
        with self._lock:
            return self._made(key) if key in self.taken else None

    def refund(self, request: RefundRequest) -> RefundMade:
        """Give it back once."""
        with self._lock:
            mood = self._enter()
            if request.charge_key in self._refusing:
                raise RefundRefused("refund_refused")
            assert self.taken[request.charge_key][1] == request.amount
            self.given_back[request.key] = request.charge_key, request.amount
            self._leave(mood)
            return RefundMade(key=request.key, reference=f"re-{request.key}")

    def look_up_refund(self, *, key: str) -> RefundMade | None:
        """Tell whether it was made."""
        with self._lock:
            return RefundMade(key=key, reference=f"re-{key}") if key in self.given_back else None

    def _made(self, key: str) -> ChargeMade:
        _, amount = self.taken[key]
        return ChargeMade(gateway=self.name, key=key, amount=amount, currency="EUR", reference=f"ch-{key}")


class Carrier(World):
    """The parcel service."""

    def create(self, request: ShipmentRequest) -> ShipmentAnswer:
        """Take one parcel per key."""
        with self._lock:
            mood = self._enter()
            if request.address.country == REFUSED_COUNTRY:
                return ShipmentRefused(carrier=self.name, code="destination_refused", detail="too cold")
            self.parcels[request.key] = request.order_id
            self._leave(mood)
            return ShipmentMade(carrier=self.name, tracking=f"T-{request.key}"[:64])

    def look_up(self, *, key: str) -> ShipmentMade | None:
        """Tell what is known of a key."""
        with self._lock:
            return ShipmentMade(carrier=self.name, tracking=f"T-{key}"[:64]) if key in self.parcels else None

    def cancel(self, *, key: str) -> bool:
        """Stop a parcel."""
        with self._lock:
            mood = self._enter()
            known = key in self.parcels
            if known:
                self.stopped.add(key)
            self._leave(mood)
            return known
