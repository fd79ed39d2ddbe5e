"""PostgreSQL as Django speaks to it, but each commit that wrote something is a crash point, named after what it wrote.

A statement that writes outside any transaction gets one of its own, so that it has a commit too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from outbox import crash_points
from outbox.postgres import base

# UPDATE only with its SET: not FOR UPDATE, nor ON CONFLICT DO UPDATE SET, which names no table.
_WRITES = re.compile(
    r'\b(?:INSERT\s+INTO|DELETE\s+FROM)\s+"?(\w+)|\bUPDATE\s+(?!SET\b)"?(\w+)"?(?:\s+(?:AS\s+)?\w+)?\s+SET\b',
    re.IGNORECASE,
)


@cache
def tables_written(statement: str) -> frozenset[str]:
    """Return the tables that a statement may write."""
    return frozenset(first or second for first, second in _WRITES.findall(statement))


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection that counts its commits. Needs CRASH_POINTS."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        assert crash_points.POINTS is not None  # noqa: S101 - the settings choose this engine only then
        self._points = crash_points.POINTS
        self._written: set[str] = set()
        self.execute_wrappers.append(self._watch)

    def _watch(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        tables = tables_written(sql) if isinstance(sql, str) else frozenset()
        if not tables:
            return execute(sql, params, many, context)
        if not self.in_atomic_block and self.connection.info.transaction_status == TransactionStatus.IDLE:
            return self._in_a_transaction(execute, sql, params, many, context)
        result = execute(sql, params, many, context)
        # The row count is that of the main statement: what the parts of a WITH have written is not told.
        if context["cursor"].rowcount or sql.lstrip()[:4].upper() == "WITH":
            self._written |= tables
        return result

    def _in_a_transaction(self, execute: Callable[..., Any], *arguments: Any) -> Any:
        self.connection.execute("BEGIN")
        try:
            result = self._watch(execute, *arguments)
        except BaseException:
            self._rollback()
            raise
        self._commit()
        return result

    def _commit(self) -> None:
        written, self._written = self._written, set()
        if written and self._has_changed():
            name = f"commit {' '.join(sorted(written))}"
            with self.wrap_database_errors:
                self._points.passing(name, super()._commit, lost=self._break)  # type: ignore[misc]  # not in the stubs
        else:
            super()._commit()  # type: ignore[misc]

    def _rollback(self) -> None:
        self._written = set()
        super()._rollback()  # type: ignore[misc]

    def _has_changed(self) -> bool:
        """Tell whether the open transaction has anything to commit: a claim may have found nothing."""
        if self.connection.info.transaction_status != TransactionStatus.INTRANS:
            return False
        row = self.connection.execute("SELECT pg_current_xact_id_if_assigned() IS NOT NULL").fetchone()
        return bool(row and row[0])

    def _break(self) -> Exception:
        self.connection.close()
        return psycopg.OperationalError("the connection broke: the answer to COMMIT is lost")
