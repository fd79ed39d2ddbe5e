"""The only writer of inventory. Reserving and releasing expect an open transaction: the one their message is
settled in.

Who gets the last piece is decided by arrival: by the place in the batch, and between batches by the row
locks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import NAMESPACE_URL, UUID, uuid5

from django.db import connection, transaction
from uuid_utils.compat import uuid7

from inventory import sql
from inventory.catalogue import CatalogueRow
from inventory.contracts import Line, ProductListed, ReserveInventory
from outbox.consumers import DomainError
from outbox.publishing import Outgoing, publish

_PRODUCTS = uuid5(NAMESPACE_URL, "saga-bridge:inventory:product")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why nothing is held for an order: `sku` is the first one that stands in the way."""

    reason: str
    sku: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """What a load changed; `listing_ids` are the messages that tell of the products as they are now."""

    products: int
    listed: int
    restocked: int
    listing_ids: frozenset[UUID]


class StockInUse(DomainError):
    """The file has fewer pieces of a SKU than are reserved."""

    def __init__(self, *, row: CatalogueRow, reserved: int) -> None:
        super().__init__(f"{row.stock} is less than the {reserved} pieces of {row.sku} that are reserved")
        self.row = row


def reserve_inventory(*, commands: Sequence[ReserveInventory]) -> list[Refusal | None]:
    """Hold all lines of each order or none, in order of arrival; None says that the order's lines are held.

    Safe to call twice: an order that holds its lines already takes nothing more. An order whose lines were
    released stays without.
    """
    demands = [_add_up(lines=command.lines) for command in commands]
    with connection.cursor() as cursor:
        cursor.execute(sql.LOCK_STOCK, [sorted({sku for demand in demands for sku in demand})])
        on_hand: dict[str, int] = dict(cursor.fetchall())
        cursor.execute(sql.FIND_RESERVED_ORDERS, [[command.order_id for command in commands]])
        reserved: dict[UUID, bool] = dict(cursor.fetchall())

        taken: Counter[str] = Counter()
        held: list[tuple[UUID, str, int]] = []
        refusals: list[Refusal | None] = []
        for command, demand in zip(commands, demands, strict=True):
            order_id = command.order_id
            if order_id in reserved:
                refusals.append(None if reserved[order_id] else _REFUSED_FOR_GOOD)
                continue
            refusal = _find_shortage(demand=demand, on_hand=on_hand)
            refusals.append(refusal)
            if refusal is None:
                reserved[order_id] = True
                for sku, quantity in demand.items():
                    on_hand[sku] -= quantity
                    taken[sku] += quantity
                    held.append((order_id, sku, quantity))

        if held:
            cursor.execute(sql.TAKE_STOCK, [list(taken.keys()), list(taken.values())])
            cursor.execute(sql.HOLD_LINES, [list(column) for column in zip(*held, strict=True)])
    return refusals


_REFUSED_FOR_GOOD = Refusal(reason="released", sku="", detail="the order's pieces were given back before")


def _add_up(*, lines: Sequence[Line]) -> Mapping[str, int]:
    demand: dict[str, int] = {}
    for line in lines:
        demand[line.sku] = demand.get(line.sku, 0) + line.quantity
    return demand


def _find_shortage(*, demand: Mapping[str, int], on_hand: Mapping[str, int]) -> Refusal | None:
    for sku, wanted in demand.items():
        left = on_hand.get(sku)
        if left is None:
            return Refusal(reason="out_of_stock", sku=sku, detail=f"{sku} is not in stock here")
        if left < wanted:
            return Refusal(reason="out_of_stock", sku=sku, detail=f"{wanted} of {sku} wanted, {left} left")
    return None


def release_inventory(*, order_ids: Collection[UUID]) -> None:
    """Give back all that is held for the orders. Safe to call twice, and for orders that hold nothing."""
    with connection.cursor() as cursor:
        cursor.execute(sql.RELEASE_LINES, [list(order_ids)])
        freed: dict[str, int] = dict(cursor.fetchall())
        if freed:
            skus = list(freed)
            cursor.execute(sql.LOCK_STOCK, [skus])
            cursor.execute(sql.RETURN_STOCK, [skus, list(freed.values())])


@transaction.atomic
def load_catalogue(*, rows: Sequence[CatalogueRow]) -> Loading:
    """Make products and stock what the file says, and tell of each product that is new or changed.

    All or nothing. Pieces reserved for orders stay reserved: the difference is made on hand. Safe to call
    twice: what is so already is neither changed nor told again. Raises: StockInUse when a SKU would go below
    zero.
    """
    by_sku = {row.sku: row for row in sorted(rows, key=lambda row: row.sku)}
    skus = list(by_sku)
    with connection.cursor() as cursor:
        cursor.execute(sql.LOCK_CATALOGUE)
        cursor.execute(sql.LOCK_LOADED, [skus])
        for sku, reserved in cursor.fetchall():
            if by_sku[sku].stock < reserved:
                raise StockInUse(row=by_sku[sku], reserved=reserved)

        products = [(row.sku, row.name, row.price, row.currency, uuid7()) for row in by_sku.values()]
        cursor.execute(sql.LIST_PRODUCTS, [list(column) for column in zip(*products, strict=True)])
        listed = [_tell_of(row=by_sku[sku], listing_id=listing_id) for sku, listing_id in cursor.fetchall()]
        publish(listed)

        cursor.execute(sql.LOAD_STOCK, [skus, [row.stock for row in by_sku.values()]])
        restocked = cursor.rowcount
        cursor.execute(sql.FIND_LISTINGS, [skus])
        listings = frozenset(listing_id for (listing_id,) in cursor.fetchall())
    return Loading(products=len(rows), listed=len(listed), restocked=restocked, listing_ids=listings)


def _tell_of(*, row: CatalogueRow, listing_id: UUID) -> Outgoing:
    event = ProductListed(sku=row.sku, name=row.name, price=row.price, currency=row.currency)
    return Outgoing(data=event, source="inventory", subject=uuid5(_PRODUCTS, row.sku), id=listing_id)
