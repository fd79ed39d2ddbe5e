"""The verdict from outside: the ledgers of bank and carrier, the clients' log, and the flow's books, all ways."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from bench.chaos.books import Booked, Books, Ledgers
from bench.chaos.clients import Log

_ENDED = {"CONFIRMED", "CANCELLED", "RETURNED"}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What does not add up, by order id with the reasons.

    `wrong` is about money, goods and stock of orders that have ended, and about keys with two orders; `lost` are
    orders that a client was promised and that do not exist; `stuck` have neither ended nor an open case.
    """

    wrong: Mapping[str, Sequence[str]]
    lost: Sequence[str]
    stuck: Sequence[str]
    double_charges: Sequence[str]
    oversold: Mapping[str, int]

    @property
    def all_wrong(self) -> set[str]:
        """Every order, key or product with which anything at all is wrong."""
        return {*self.wrong, *self.lost, *self.stuck, *self.double_charges, *self.oversold}


def judge(*, books: Books, ledgers: Ledgers, log: Log) -> Verdict:
    """Compare everything with everything."""
    kept: Counter[str] = Counter()
    charges: Counter[str] = Counter()
    parcels: Counter[str] = Counter()
    for entry in ledgers.bank:
        is_charge = entry["kind"] == "charge"
        kept[entry["order_id"]] += entry["amount"] if is_charge else -entry["amount"]
        charges[entry["order_id"]] += is_charge
    for entry in ledgers.carrier:
        parcels[entry["order_id"]] += -1 if entry["kind"] == "cancellation" else 1
    known = {order.id for order in books.orders}
    wrong: dict[str, list[str]] = defaultdict(list)
    for order in books.orders:
        if order.status in _ENDED and not order.needs_person:
            wrong[order.id] += _faults_of(order, kept[order.id], parcels[order.id])
    for subject, reason in (*_strangers(known, kept, parcels), *_doubles(log), *_shelves(books)):
        wrong[subject].append(reason)
    return Verdict(
        wrong={subject: reasons for subject, reasons in wrong.items() if reasons},
        lost=sorted(log.order_ids - known),
        stuck=sorted(o.id for o in books.orders if o.status not in _ENDED and not o.needs_person),
        double_charges=sorted(order_id for order_id, count in charges.items() if count > 1),
        oversold=dict(_oversold(books)),
    )


def _strangers(
    known: AbstractSet[str], kept: Mapping[str, int], parcels: Mapping[str, int]
) -> Iterator[tuple[str, str]]:
    for order_id in kept.keys() - known:
        if kept[order_id]:
            yield order_id, f"the bank keeps {kept[order_id]} for an order that does not exist"
    for order_id in parcels.keys() - known:
        if parcels[order_id]:
            yield order_id, "a parcel goes out for an order that does not exist"


def _doubles(log: Log) -> Iterator[tuple[str, str]]:
    for key, ids in log.accepted.items():
        if len(ids) > 1:
            yield key, f"one key made {len(ids)} orders: {', '.join(sorted(ids))}"


def _shelves(books: Books) -> Iterator[tuple[str, str]]:
    for shelf in books.shelves:
        held = sum(order.held.get(shelf.sku, 0) for order in books.orders)
        if shelf.on_hand + held != shelf.loaded:
            yield shelf.sku, f"{shelf.on_hand} on hand and {held} held are not the {shelf.loaded} loaded"


def _faults_of(order: Booked, kept: int, parcels: int) -> Iterator[str]:
    confirmed = order.status == "CONFIRMED"
    due = order.amount if confirmed else 0
    if kept != due:
        yield f"{order.status}, the bank keeps {kept} instead of {due}"
    # What was sent back had gone out.
    if order.status != "RETURNED" and parcels != int(confirmed):
        yield f"{order.status}, {parcels} parcels go out"
    if dict(order.held) != (dict(order.items) if confirmed else {}):
        yield f"{order.status}, ordered {dict(order.items)}, held {dict(order.held)}"


def _oversold(books: Books) -> Iterator[tuple[str, int]]:
    sold: Counter[str] = Counter()
    for order in books.orders:
        if order.status == "CONFIRMED":
            sold.update(order.items)
    for shelf in books.shelves:
        too_many = max(sold[shelf.sku] - shelf.loaded, -shelf.on_hand, 0)
        if too_many:
            yield shelf.sku, too_many
