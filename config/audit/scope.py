"""What the audit looks at, and what of that can be judged: temporary tables of one snapshot, which all checks read.

- `audit_clock`: one row. `at` is the database's time before the ledgers were read; `since` and `low` (the smallest
  message or order id of that time) begin the window; before `remembered` history may be dropped, and for
  `answers_kept` an answer is kept; what bank and carrier did after `late_from` may still be put right.
- `audit_scope`: the ordering keys that have changed within the window. Every change has a message, and ids are in
  order of time, so a range of the log's primary key finds them, however long the history is.
- `audit_judged`: the orders among them that can be judged: settled, and nothing in flight. The ledgers were read
  first; who has changed since then is left for the next look. So is whoever has a live saga or a command under way,
  and whoever a person works on or has settled by hand.
- `audit_ledger`: the entries of bank and carrier.
- `audit_route`, `audit_starter`, `audit_step`: what routing table and saga definitions say.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import IO, Any
from uuid import UUID

from django.conf import settings

from config.audit.checks import IN_A_PERSONS_HANDS
from outbox.consumers import CONSUMERS
from outbox.contracts import ACTION, COMPENSATION
from outbox.publishing import routing
from sagas.definition import CLOSE, definitions

# A worker's clock, from which ids are drawn, may be minutes off.
CLOCK_SLACK = timedelta(minutes=15)
# The inbox is pruned to the second, the log by the day: at the very edge one of them may be gone.
EDGE = timedelta(hours=1)
# Reconciliation sweeps this often and once more, after its tolerance.
PATIENCE = timedelta(minutes=2)
# Bytes of the spooled ledger handed to the database at once.
_BLOCK = 65_536

_CLOCK = """
CREATE TEMPORARY TABLE audit_clock ON COMMIT DROP AS
SELECT %s::timestamptz AS at, %s::timestamptz AS since, %s::uuid AS low, %s::timestamptz AS remembered,
       %s::interval AS answers_kept, %s::timestamptz AS late_from
"""

_SCOPE = """
CREATE TEMPORARY TABLE audit_scope (key uuid PRIMARY KEY) ON COMMIT DROP
"""
# Index: primary keys of the log's partitions and of the orders.
_RECENT_KEYS = """
SELECT m.ordering_key FROM outbox_message m WHERE m.id >= %s AND m.time >= %s
UNION SELECT o.id FROM orders_order o WHERE o.id >= %s
"""
_ALL_KEYS = """
SELECT ordering_key FROM outbox_message UNION SELECT id FROM orders_order UNION SELECT key FROM sagas_sagainstance
UNION SELECT order_id FROM inventory_reservation UNION SELECT order_id FROM payments_payment
UNION SELECT order_id FROM shipping_shipment
"""

_LEDGER = """
CREATE TEMPORARY TABLE audit_ledger (
    source text, kind text, key text, order_id text, order_key uuid, amount bigint, currency text, at timestamptz
) ON COMMIT DROP
"""

_LEDGER_KEYS = """
INSERT INTO audit_scope SELECT DISTINCT order_key FROM audit_ledger WHERE order_key IS NOT NULL ON CONFLICT DO NOTHING
"""

_JUDGED = f"""
CREATE TEMPORARY TABLE audit_judged ON COMMIT DROP AS
SELECT o.id, o.status, o.reason, o.amount, o.currency
FROM audit_scope s JOIN orders_order o ON o.id = s.key
WHERE o.status IN ('CONFIRMED', 'CANCELLED', 'RETURNED')
  AND o.updated_at < (SELECT at FROM audit_clock)
  AND NOT EXISTS (SELECT FROM sagas_sagainstance i WHERE i.key = o.id
                  AND (i.status IN ('RUNNING', 'COMPENSATING', 'SUSPENDED')
                       OR i.ended_at >= (SELECT at FROM audit_clock)))
  AND NOT EXISTS (SELECT FROM outbox_delivery d WHERE d.ordering_key = o.id
                  AND d.kind = 'command' AND d.dead_at IS NULL)
  AND NOT {IN_A_PERSONS_HANDS.format(key="o.id")}
"""

_TABLES = """
CREATE TEMPORARY TABLE audit_route (type text, destination text) ON COMMIT DROP;
CREATE TEMPORARY TABLE audit_starter (type text, saga text) ON COMMIT DROP;
CREATE TEMPORARY TABLE audit_step
    (saga text, version smallint, step text, direction text, command text, success text) ON COMMIT DROP;
"""


def window_keys(cursor: Any, *, since: datetime) -> list[UUID]:
    """Return the keys that have changed since then, for those ledgers that can be asked by order."""
    cursor.execute(_RECENT_KEYS, [lowest_id(since), since, lowest_id(since)])
    return [row[0] for row in cursor.fetchall()]


def lowest_id(moment: datetime) -> UUID:
    """Return the smallest id that may have been drawn at this time or later."""
    milliseconds = int((moment - CLOCK_SLACK).timestamp() * 1000)
    return UUID(int=max(milliseconds, 0) << 80)


def set_scene(cursor: Any, *, at: datetime, since: datetime | None, entries: IO[bytes]) -> int:
    """Make the tables that the checks read, in the caller's transaction. Returns how many keys are in scope."""
    remembered_for = timedelta(days=min(settings.MESSAGE_RETENTION_DAYS, settings.INBOX_RETENTION_DAYS))
    remembered = at - remembered_for + EDGE
    low = UUID(int=0) if since is None else lowest_id(since)
    late_from = at - timedelta(seconds=settings.RECONCILIATION_TOLERANCE_SECONDS) - PATIENCE
    answers_kept = timedelta(seconds=settings.IDEMPOTENCY_KEY_TTL)
    cursor.execute(_CLOCK, [at, max(since or remembered, remembered), low, remembered, answers_kept, late_from])
    cursor.execute(_SCOPE)
    if since is None:
        cursor.execute(f"INSERT INTO audit_scope {_ALL_KEYS}")
    else:
        cursor.execute(f"INSERT INTO audit_scope {_RECENT_KEYS}", [low, since, low])
    cursor.execute(_LEDGER)
    _copy(cursor, entries)
    cursor.execute(_LEDGER_KEYS)
    cursor.execute("SELECT count(*) FROM audit_scope")
    (keys,) = cursor.fetchone()
    for statement in _TABLES.split(";")[:-1]:
        cursor.execute(statement)
    for table, rows in (("audit_route", _routes()), ("audit_starter", _starters()), ("audit_step", _steps())):
        with cursor.copy(f"COPY {table} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    cursor.execute("ANALYZE audit_scope, audit_ledger")
    cursor.execute(_JUDGED)
    cursor.execute("ANALYZE audit_judged")
    return int(keys)


def _copy(cursor: Any, entries: IO[bytes]) -> None:
    entries.seek(0)
    with cursor.copy("COPY audit_ledger FROM STDIN (FORMAT csv)") as copy:
        while block := entries.read(_BLOCK):
            copy.write(block)


def _routes() -> list[tuple[str, str]]:
    """Whoever notes what it has handled, and of which types."""
    return [
        (wire_type, destination)
        for wire_type, destinations in routing().destinations.items()
        for destination in destinations
        if destination in CONSUMERS and CONSUMERS[destination].deduplicates
    ]


def _starters() -> list[tuple[str, str]]:
    return sorted({(definition.started_by.wire_type, definition.name) for definition in definitions().values()})


def _steps() -> list[tuple[str, int, str, str, str, str]]:
    rows = []
    for (name, version), definition in definitions().items():
        for step in definition.by_name.values():
            rows.append((name, version, step.name, ACTION, step.action))
            if step.compensation is not None:
                rows.append((name, version, step.name, COMPENSATION, step.compensation))
        if definition.on_compensated is not None:
            rows.append((name, version, CLOSE, ACTION, definition.on_compensated))
    return [(*row[:4], row[4].wire_type, row[4].success.wire_type) for row in rows]
