"""One run of the audit: ledgers first, then all checks in one snapshot."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from config.audit import answers, ends, goods, ledgers, messages, money, scope, stock, trail
from config.audit.checks import Check, Finding

CHECKS: tuple[Check, ...] = (
    *money.CHECKS,
    *stock.CHECKS,
    *goods.CHECKS,
    *ends.CHECKS,
    *messages.CHECKS,
    *answers.CHECKS,
    *trail.CHECKS,
)

# Of each check at most so many findings are told: one bug may concern every order.
TOLD_OF_EACH = 1_000
# A look at what has changed reads a table as a whole only up to about so many rows.
WHOLE_ROWS = 500_000


@dataclass(frozen=True, slots=True)
class Report:
    """What a run has looked at and found. `since` is None when it looked at everything; `keys` counts in scope."""

    at: datetime
    since: datetime | None
    keys: int
    judged: int
    checks: int
    findings: tuple[Finding, ...]
    seconds: float


def audit(*, since: datetime | None = None) -> Report:
    """Judge everything, or what has changed since then. Changes nothing.

    Raises `LedgerUnavailable` when the bank or the carrier cannot be asked.
    """
    began = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (at,) = cursor.fetchone()
        wanted = [] if since is None else scope.window_keys(cursor, since=since)
    with ledgers.spool(keys=wanted, since=since) as entries, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        # Compiling statements of this shape takes longer than running them.
        cursor.execute("SET LOCAL jit = off")
        keys = scope.set_scene(cursor, at=at, since=since, entries=entries)
        cursor.execute("SELECT count(*) FROM audit_judged")
        (judged,) = cursor.fetchone()
        checks = [check for check in CHECKS if _is_wanted(cursor, check, is_window=since is not None)]
        findings = [finding for check in checks for finding in _findings(cursor, check)]
        # The temporary tables go with it.
        transaction.set_rollback(True)
    return Report(at, since, keys, judged, len(checks), tuple(findings), time.monotonic() - began)


def _is_wanted(cursor: Any, check: Check, *, is_window: bool) -> bool:
    if check.needs_ledgers and not ledgers.are_shown():
        return False
    if not check.whole or not is_window:
        return True
    cursor.execute("SELECT reltuples FROM pg_class WHERE oid = %s::regclass", [check.whole])
    (rows,) = cursor.fetchone()
    return bool(rows < WHOLE_ROWS)


def _findings(cursor: Any, check: Check) -> list[Finding]:
    cursor.execute(f"SELECT * FROM ({check.statement}) AS offences LIMIT {TOLD_OF_EACH}")
    return [Finding(check.invariant, check.says, str(key), detail) for key, detail in cursor.fetchall()]
