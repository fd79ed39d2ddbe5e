"""Money and stock, read in one snapshot every 200 ms while the processes die: the totals must hold all the time."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Self

import httpx
import psycopg

PERIOD_SECONDS = 0.2
# A restart of the simulator or the database ends a look, not the watch.
_AWAY = (httpx.TransportError, psycopg.OperationalError)

_RULES = {
    "stock adds up": (
        "SELECT sku, on_hand, reserved, loaded FROM inventory_stock "
        "WHERE on_hand + reserved <> loaded OR on_hand < 0 OR reserved < 0"
    ),
    "what is reserved is held": (
        "SELECT s.sku, s.reserved, coalesce(r.held, 0) FROM inventory_stock s LEFT JOIN "
        "(SELECT sku, sum(quantity) AS held FROM inventory_reservation WHERE status = 'held' GROUP BY sku) r "
        "USING (sku) WHERE s.reserved <> coalesce(r.held, 0)"
    ),
    "one charge per order": (
        "SELECT order_id, count(*) FROM payments_payment WHERE status = 'charged' GROUP BY order_id HAVING count(*) > 1"
    ),
    "refunds stay below charges": (
        "SELECT p.order_id, p.amount, sum(r.amount) FROM payments_refund r JOIN payments_payment p "
        "ON p.key = r.charge_key GROUP BY p.order_id, p.amount HAVING sum(r.amount) > p.amount"
    ),
    "one live parcel per order": (
        "SELECT order_id, count(*) FROM shipping_shipment WHERE status = 'created' "
        "GROUP BY order_id HAVING count(*) > 1"
    ),
}


class Watcher:
    """A thread that looks, from entering the block to leaving it. `violations` says what it has seen."""

    def __init__(self, *, database_url: str, bank_url: str) -> None:
        self.looks = 0
        self.violations: list[str] = []
        self._database_url = database_url
        self._bank_url = bank_url
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watcher")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(PERIOD_SECONDS):
            try:
                with psycopg.connect(self._database_url) as database, httpx.Client(base_url=self._bank_url) as bank:
                    while not self._over.wait(PERIOD_SECONDS):
                        self._look(database, bank)
            except _AWAY:
                continue

    def _look(self, database: psycopg.Connection[Any], bank: httpx.Client) -> None:
        entries = bank.get("/ledger").raise_for_status().json()
        with database.transaction():
            database.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            for rule, statement in _RULES.items():
                self._note(rule, database.execute(statement).fetchall())
            # After the ledger was read, so that every order in it is known.
            totals = dict(database.execute("SELECT id::text, amount FROM orders_order").fetchall())
        self._note("money at the bank", _misplaced(entries, totals))
        self.looks += 1

    def _note(self, rule: str, offenders: list[Any]) -> None:
        for offender in offenders:
            violation = f"{rule}: {offender}"
            if violation not in self.violations:
                self.violations.append(violation)


def _misplaced(entries: list[dict[str, Any]], totals: dict[str, int]) -> list[tuple[str, int, int, int]]:
    """Return the orders of which the bank keeps less than nothing, more than their total, or a second charge."""
    kept: dict[str, int] = {}
    charges: dict[str, int] = {}
    for entry in entries:
        order_id, is_charge = entry["order_id"], entry["kind"] == "charge"
        kept[order_id] = kept.get(order_id, 0) + (entry["amount"] if is_charge else -entry["amount"])
        charges[order_id] = charges.get(order_id, 0) + is_charge
    return [
        (order_id, money, totals.get(order_id, 0), charges[order_id])
        for order_id, money in kept.items()
        if not 0 <= money <= totals.get(order_id, 0) or charges[order_id] > 1
    ]
