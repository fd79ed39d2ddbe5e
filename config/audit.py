"""The consistency audit: do our tables, the bank's ledger and the carrier's ledger tell the same story?

Every check is one set-based statement that returns offending rows, so it can run on a live system. What is still in
flight is told apart from what is wrong: an order is judged only when no live saga works on it and it has not changed
since the ledgers were read. What a person has settled by hand, with a closed case that says so, is no finding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
from django.conf import settings
from django.db import connection, transaction

# A saga may miss its deadline by a sweep or two before it counts as forgotten.
GRACE_SECONDS = 60
# Of each check so many findings are named; the rest is counted.
NAMED = 100
LEDGER_TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Check:
    """One rule: which invariant, what it says, and the statement that finds offenders as (key, detail)."""

    invariant: str
    says: str
    statement: str
    needs_ledgers: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """One offence. `key` is an order id, a SKU or a saga id."""

    invariant: str
    says: str
    key: str
    detail: str


# Orders that can be judged: settled, untouched since the ledgers were read, and not settled by hand.
_JUDGED = """
judged AS (
    SELECT o.* FROM orders_order o
    WHERE o.status IN ('CONFIRMED', 'CANCELLED', 'RETURNED')
      AND o.updated_at < (SELECT at FROM audit_clock)
      AND NOT EXISTS (SELECT FROM sagas_sagainstance s WHERE s.key = o.id
                      AND (s.status IN ('RUNNING', 'COMPENSATING', 'SUSPENDED')
                           OR s.ended_at >= (SELECT at FROM audit_clock)))
      AND NOT EXISTS (SELECT FROM sagas_case c WHERE c.key = o.id
                      AND c.resolution IN ('resolved', 'skipped', 'abandoned'))
)"""

_BANK = """
bank AS (
    SELECT order_id,
           coalesce(sum(CASE kind WHEN 'charge' THEN amount ELSE -amount END), 0) AS kept,
           count(*) FILTER (WHERE kind = 'charge') AS charges
    FROM audit_ledger WHERE source = 'bank' GROUP BY order_id
)"""

CHECKS: tuple[Check, ...] = (
    Check(
        "I1",
        "no order is charged twice",
        f"WITH {_BANK} SELECT order_id, charges || ' charges' FROM bank WHERE charges > 1",
        needs_ledgers=True,
    ),
    Check(
        "I1",
        "every charge belongs to an order",
        f"WITH {_BANK} SELECT b.order_id, 'the bank keeps ' || b.kept FROM bank b "
        "LEFT JOIN orders_order o ON o.id::text = b.order_id WHERE o.id IS NULL AND b.kept <> 0",
        needs_ledgers=True,
    ),
    Check(
        "I1",
        "the bank keeps the total of a confirmed order and nothing of another",
        f"WITH {_JUDGED}, {_BANK} "
        "SELECT j.id, j.status || ', total ' || j.amount || ', the bank keeps ' || coalesce(b.kept, 0) "
        "FROM judged j LEFT JOIN bank b ON b.order_id = j.id::text "
        "WHERE coalesce(b.kept, 0) <> CASE WHEN j.status = 'CONFIRMED' THEN j.amount ELSE 0 END",
        needs_ledgers=True,
    ),
    Check(
        "I1",
        "payments agrees with the order",
        f"WITH {_JUDGED}, ours AS (SELECT order_id, sum(amount) AS kept FROM payments_payment "
        "WHERE status = 'charged' GROUP BY order_id) "
        "SELECT j.id, j.status || ', total ' || j.amount || ', payments keeps ' || coalesce(p.kept, 0) "
        "FROM judged j LEFT JOIN ours p ON p.order_id = j.id "
        "WHERE coalesce(p.kept, 0) <> CASE WHEN j.status = 'CONFIRMED' THEN j.amount ELSE 0 END",
    ),
    Check(
        "I2",
        "on hand and reserved make what was loaded",
        "SELECT sku, on_hand || ' + ' || reserved || ' is not ' || loaded FROM inventory_stock "
        "WHERE on_hand + reserved <> loaded OR on_hand < 0 OR reserved < 0",
    ),
    Check(
        "I2",
        "what is reserved is held for orders",
        "SELECT s.sku, 'reserved ' || s.reserved || ', held ' || coalesce(r.held, 0) FROM inventory_stock s "
        "LEFT JOIN (SELECT sku, sum(quantity) AS held FROM inventory_reservation WHERE status = 'held' GROUP BY sku) r "
        "ON r.sku = s.sku WHERE s.reserved <> coalesce(r.held, 0)",
    ),
    Check(
        "I2",
        "stock is held only for running and confirmed orders",
        f"WITH {_JUDGED} SELECT DISTINCT j.id, j.status || ' and still holds ' || r.sku FROM judged j "
        "JOIN inventory_reservation r ON r.order_id = j.id AND r.status = 'held' WHERE j.status <> 'CONFIRMED'",
    ),
    Check(
        "I2",
        "a confirmed order holds its lines",
        f"WITH {_JUDGED} SELECT j.id, l.sku || ': ordered ' || l.quantity FROM judged j "
        "JOIN orders_orderline l ON l.order_id = j.id "
        "LEFT JOIN inventory_reservation r ON r.order_id = j.id AND r.sku = l.sku AND r.status = 'held' "
        "WHERE j.status = 'CONFIRMED' AND r.quantity IS DISTINCT FROM l.quantity",
    ),
    Check(
        "I3",
        "one live shipment for a confirmed order, none for a cancelled one",
        f"WITH {_JUDGED}, live AS (SELECT order_id, count(*) FILTER (WHERE kind = 'shipment') "
        "- count(*) FILTER (WHERE kind = 'cancellation') AS parcels FROM audit_ledger WHERE source = 'carrier' "
        "GROUP BY order_id) "
        "SELECT j.id, j.status || ' with ' || coalesce(l.parcels, 0) || ' live shipments at the carrier' FROM judged j "
        "LEFT JOIN live l ON l.order_id = j.id::text WHERE "
        "(j.status = 'CONFIRMED' AND coalesce(l.parcels, 0) <> 1) OR (j.status = 'CANCELLED' AND l.parcels > 0)",
        needs_ledgers=True,
    ),
    Check(
        "I3",
        "shipping agrees with the order",
        f"WITH {_JUDGED}, ours AS (SELECT order_id, count(*) AS parcels FROM shipping_shipment "
        "WHERE status = 'created' GROUP BY order_id) "
        "SELECT j.id, j.status || ' with ' || coalesce(s.parcels, 0) || ' shipments' FROM judged j "
        "LEFT JOIN ours s ON s.order_id = j.id WHERE "
        "(j.status = 'CONFIRMED' AND coalesce(s.parcels, 0) <> 1) OR (j.status = 'CANCELLED' AND s.parcels > 0)",
    ),
    Check(
        "I4",
        "no saga is forgotten",
        "SELECT s.id, s.name || ' ' || s.status || ' since ' || s.updated_at FROM sagas_sagainstance s "
        "WHERE (s.status IN ('RUNNING', 'COMPENSATING') AND (s.due_at IS NULL "
        f"OR s.due_at < now() - interval '{GRACE_SECONDS} seconds')) "
        "OR (s.status = 'SUSPENDED' AND NOT EXISTS "
        "(SELECT FROM sagas_case c WHERE c.saga_id = s.id AND c.status = 'OPEN'))",
    ),
    Check(
        "I4",
        "no order is forgotten",
        "SELECT o.id, o.status || ' since ' || o.updated_at FROM orders_order o "
        "WHERE o.status IN ('PENDING', 'CANCELLING', 'RETURNING') "
        f"AND o.updated_at < now() - interval '{GRACE_SECONDS} seconds' "
        "AND NOT EXISTS (SELECT FROM sagas_sagainstance s WHERE s.key = o.id "
        "AND s.status IN ('RUNNING', 'COMPENSATING', 'SUSPENDED')) "
        "AND NOT EXISTS (SELECT FROM outbox_delivery d WHERE d.ordering_key = o.id)",
    ),
    Check(
        "I5",
        "every order has said that it was placed",
        "SELECT o.id, o.status FROM orders_order o "
        "WHERE o.placed_at > now() - make_interval(days => (SELECT retention FROM audit_clock)) "
        "AND NOT EXISTS (SELECT FROM outbox_message m WHERE m.ordering_key = o.id AND m.type = 'order.created')",
    ),
    Check(
        "I5",
        "every dead letter has a case",
        "SELECT d.ordering_key, d.type || ' to ' || d.destination || ': ' || d.error FROM outbox_delivery d "
        f"WHERE d.dead_at < now() - interval '{GRACE_SECONDS} seconds' AND NOT EXISTS "
        "(SELECT FROM sagas_case c WHERE c.status = 'OPEN' "
        "AND (c.message_id = d.message_id OR c.key = d.ordering_key))",
    ),
    Check(
        "I6",
        "an order's status agrees with its saga",
        f"WITH {_JUDGED} SELECT j.id, j.status || ', its saga ' || coalesce(s.status, 'never ran') FROM judged j "
        "LEFT JOIN sagas_sagainstance s ON s.key = j.id AND s.name = 'order-fulfilment' "
        "WHERE (s.status = 'COMPLETED') IS DISTINCT FROM (j.status IN ('CONFIRMED', 'RETURNED'))",
    ),
    Check(
        "I7",
        "every case that a person closed is in the operator log",
        "SELECT c.key, 'case ' || c.id || ' was ' || c.resolution FROM sagas_case c "
        "WHERE c.status = 'CLOSED' AND c.resolution <> 'recovered' "
        "AND NOT EXISTS (SELECT FROM sagas_operatoraction a WHERE a.case_id = c.id OR a.saga_id = c.saga_id)",
    ),
)


class LedgerUnavailable(RuntimeError):
    """The bank or the carrier does not show its ledger; without it money and goods cannot be judged."""


def audit() -> list[Finding]:
    """Run all checks in one snapshot. Returns the findings, none if all is well.

    Raises `LedgerUnavailable` when the bank or the carrier cannot be asked.
    """
    read_at = _database_now()
    ledgers = _ledgers()
    findings: list[Finding] = []
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute(
            "CREATE TEMPORARY TABLE audit_clock ON COMMIT DROP AS SELECT %s::timestamptz AS at, %s::int AS retention",
            [read_at, settings.MESSAGE_RETENTION_DAYS],
        )
        cursor.execute(
            "CREATE TEMPORARY TABLE audit_ledger (source text, order_id text, kind text, amount bigint) ON COMMIT DROP"
        )
        with cursor.copy("COPY audit_ledger FROM STDIN") as copy:
            for row in ledgers:
                copy.write_row(row)
        cursor.execute("ANALYZE audit_ledger")
        for check in CHECKS:
            if check.needs_ledgers and not _has_ledgers():
                continue
            cursor.execute(check.statement)
            findings += [Finding(check.invariant, check.says, str(key), detail) for key, detail in cursor.fetchall()]
    return findings


def _has_ledgers() -> bool:
    return bool(settings.PAYMENT_GATEWAY == "simulated" and settings.CARRIER == "simulated")


def _ledgers() -> list[tuple[str, str, str, int]]:
    if not _has_ledgers():
        return []
    return [
        (source, entry["order_id"], entry["kind"], entry.get("amount", 0))
        for source, url in (("bank", settings.BANK_URL), ("carrier", settings.CARRIER_URL))
        for entry in _read(f"{url}/ledger")
    ]


def _read(url: str) -> Sequence[dict[str, Any]]:
    try:
        response = httpx.get(url, timeout=LEDGER_TIMEOUT_SECONDS)
        response.raise_for_status()
    except httpx.HTTPError as error:
        raise LedgerUnavailable(f"{url} does not answer: {error}") from error
    entries: list[dict[str, Any]] = response.json()
    return entries


def _database_now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        now: datetime = cursor.fetchone()[0]
        return now
