"""The carrier's ledger against our shipments: late parcels are stopped, what nothing explains goes to a person.

A parcel that was still on its way to the carrier when the saga turned back may be taken after its cancellation had
looked for it and found nothing. Its key tells it from a stranger's: the outbox knows that the step was asked for, and
that its compensation has run. It is stopped by that key, as the compensation would have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar

from django.db import transaction

from outbox import ledgers
from outbox.consumers import TransientError
from outbox.ledgers import EXPLAINED, Entry, Found, Recorded, State, TakingBackRefused, Verdict
from outbox.outside import UnforeseenAnswer
from outbox.places import NOWHERE, Place, Standing, place_of, standings
from outbox.publishing import Outgoing, publish
from outbox.reconciliation import ORDERS_AT_ONCE, Report, sweep
from shipping import carriers, selectors, services
from shipping.carriers.protocol import Carrier
from shipping.contracts import ShipmentCancelled, ShipmentMismatchFound
from shipping.models import LedgerMark, Mismatch, Shipment, Sighting

SOURCE = "shipping"
SHIPMENT = "shipment"
CANCELLATION = "cancellation"


def reconcile() -> Report | None:
    """Compare the ledger of the carrier that takes parcels with our shipments, once; None if it keeps no ledger.

    Raises: TransientError when the ledger cannot be read.
    """
    carrier = carriers.current()
    return sweep(book=CarrierBook(carrier=carrier)) if carrier.keeps_ledger else None


class CarrierBook:
    """The ledger of one carrier."""

    marks: ClassVar[type[ledgers.LedgerMark]] = LedgerMark
    sightings: ClassVar[type[ledgers.Sighting]] = Sighting
    mismatches: ClassVar[type[ledgers.Mismatch]] = Mismatch

    def __init__(self, *, carrier: Carrier) -> None:
        self.name = f"{SOURCE}:{carrier.name}"
        self._carrier = carrier

    def read(self, *, since: datetime | None, limit: int) -> Sequence[Entry]:
        """Return the entries made since, oldest first."""
        return self._carrier.entries(since=since, limit=limit)

    def read_orders(self, *, order_ids: Sequence[str]) -> Sequence[Entry]:
        """Return all entries of these orders."""
        return self._carrier.entries(order_ids=order_ids)

    def judge(self, *, entries: Sequence[Entry]) -> list[Verdict]:
        """Return what our rows say of each entry, in order."""
        rows = selectors.list_shipments(keys=[entry.key for entry in entries])
        doubtful = [entry for entry in entries if not _agrees(entry, rows.get(entry.key))]
        if not doubtful:
            return [EXPLAINED] * len(entries)
        # The outbox first: what a command led to is in the rows once its delivery is gone. And the ledger last, for
        # what was stopped meanwhile needs nothing more.
        known = standings(keys={entry.key for entry in doubtful}, consumer=SOURCE)
        rows = selectors.list_shipments(keys=[entry.key for entry in doubtful])
        live = self._live_parcels(sorted({entry.order_id for entry in doubtful}))
        judged = {
            (entry.kind, entry.key): _doubt(entry, rows.get(entry.key), known.get(entry.key, NOWHERE), live)
            for entry in doubtful
        }
        return [judged.get((entry.kind, entry.key), EXPLAINED) for entry in entries]

    def _live_parcels(self, order_ids: Sequence[str]) -> dict[str, set[str]]:
        """Return the keys of the parcels that the carrier has on their way for each order, as of now."""
        live: dict[str, set[str]] = defaultdict(set)
        for i in range(0, len(order_ids), ORDERS_AT_ONCE):
            for entry in self.read_orders(order_ids=order_ids[i : i + ORDERS_AT_ONCE]):
                if entry.kind == SHIPMENT:
                    live[entry.order_id].add(entry.key)
                else:
                    live[entry.order_id].discard(entry.key)
        return live

    def take_back(self, *, entry: Entry) -> bool:
        """Stop a late parcel by its key, and record it."""
        place = place_of(entry.key)
        assert place is not None  # noqa: S101 - only a parcel with a place of ours is judged to be late
        try:
            is_stopped = self._carrier.cancel(key=entry.key)
        except UnforeseenAnswer as refusal:
            raise TakingBackRefused(str(refusal)) from refusal
        if not is_stopped:
            raise TransientError("the carrier shows the parcel in its ledger and does not find it by its key")
        with transaction.atomic():
            services.record_cancellations(answers=[services.NothingOnItsWay(key=entry.key)])
            _tell_of_cancellation(place)
        return True

    def recorded(self, *, since: datetime | None) -> Sequence[Recorded]:
        """Return the parcels on their way that we recorded since."""
        return [
            Recorded(
                kind=SHIPMENT,
                key=row.key,
                order_id=str(row.order_id),
                finding="parcel_missing",
                detail=f"we recorded parcel {row.tracking} that the carrier's ledger lacks",
            )
            for row in selectors.list_changed_live(carrier=self._carrier.name, since=since)
        ]

    def tell(self, *, found: Sequence[Found]) -> None:
        """Publish what a person must settle."""
        publish([Outgoing(data=_mismatch(one), source=SOURCE, subject=one.subject) for one in found])


def _agrees(entry: Entry, row: Shipment | None) -> bool:
    if row is None or str(row.order_id) != entry.order_id:
        return False
    return row.status == (Shipment.Status.CREATED if entry.kind == SHIPMENT else Shipment.Status.CANCELLED)


def _doubt(entry: Entry, row: Shipment | None, standing: Standing, live: Mapping[str, set[str]]) -> Verdict:
    parcels = live.get(entry.order_id, set())
    if entry.kind == CANCELLATION:
        if row is None or row.status != Shipment.Status.CREATED:
            return EXPLAINED
        return _watch(standing, "parcel_stopped", "the carrier stopped a parcel that goes out for us")
    if entry.key not in parcels:
        # It was stopped: no goods move, whatever we thought of it.
        return EXPLAINED
    place = place_of(entry.key)
    if place is None or standing.command is None or str(place.order_id) != entry.order_id:
        return _watch(standing, "parcel_unexplained", "the carrier has a parcel that nothing of ours asked for")
    is_refused = row is not None and row.status == Shipment.Status.REFUSED
    if standing.is_undone and not standing.is_waiting and not is_refused:
        return Verdict(State.LATE, detail="the carrier took a parcel after its order had turned back")
    if len(parcels) > 1:
        return _watch(standing, "second_parcel", f"the carrier has {len(parcels)} parcels for one order")
    why = "whose answer was that it is refused" if is_refused else "that we never learned of"
    return _watch(standing, "parcel_unexplained", f"the carrier has a parcel {why}")


def _watch(standing: Standing, finding: str, detail: str) -> Verdict:
    # While a command is on its way it may explain the entry; how long that takes is for its own deadline to say.
    if standing.is_waiting or standing.is_busy:
        return Verdict(State.OPEN)
    return Verdict(State.OPEN, finding, detail)


def _tell_of_cancellation(place: Place) -> None:
    # A fact, and no reply: the command was answered long ago.
    cancelled = ShipmentCancelled(order_id=place.order_id)
    publish([Outgoing(data=cancelled, source=SOURCE, subject=place.order_id)])


def _mismatch(found: Found) -> ShipmentMismatchFound:
    return ShipmentMismatchFound(order_id=found.subject, finding=found.finding, key=found.key, detail=found.detail)
