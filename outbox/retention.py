"""Keep the tables small: history is dropped by the day, never deleted by the row."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import OperationalError, ProgrammingError, connections, transaction
from django.utils import timezone
from psycopg import sql as pg
from psycopg.errors import InsufficientPrivilege

from outbox.transactions import is_passing

log = structlog.get_logger(__name__)

# So many days ahead there is a partition ready: two weeks of a stopped beat do no harm, and after that the default
# partition catches what comes.
DAYS_AHEAD = 14
# Rows deleted at once: short transactions, little bloat.
PRUNE_BATCH = 10_000
# While we wait for the lock on the log, whoever publishes waits behind us; the next run comes within the hour.
LOCK_PATIENCE = "250ms"
# Partitioned by day: the table, and what makes one of its partitions.
LOGS = {"outbox_message": "outbox_create_partition", "outbox_gateway_call": "outbox_create_call_partition"}


def create_partitions(*, using: str = "default", days: int = DAYS_AHEAD) -> None:
    """Make the partitions of today and the coming days. Safe to call at any time."""
    for maker in LOGS.values():
        _change_log(f"SELECT {maker}(CURRENT_DATE + n) FROM generate_series(0, %s) AS n", [days], using=using)  # noqa: S608


def drop_expired(*, using: str = "default", today: date | None = None) -> list[str]:
    """Drop the partitions older than `settings.MESSAGE_RETENTION_DAYS`. Returns their names.

    A partition stays while a delivery still points into it: nothing unsent is ever dropped.
    """
    oldest = (today or timezone.now().date()) - timedelta(days=settings.MESSAGE_RETENTION_DAYS)
    dropped = []
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT min(message_time) FROM outbox_delivery")
        (unsettled,) = cursor.fetchone()
        for name, day in _partitions(cursor):
            if day >= oldest or (unsettled is not None and day >= unsettled.date()):
                continue
            if not _change_log(pg.SQL("DROP TABLE {}").format(pg.Identifier(name)).as_string(None), using=using):
                break
            dropped.append(name)
            log.info("outbox.partition.dropped", partition=name)
    return dropped


def prune_handled(*, using: str = "default") -> int:
    """Delete inbox entries past `settings.INBOX_RETENTION_DAYS`, a batch at a time. Returns how many."""
    oldest = timezone.now() - timedelta(days=settings.INBOX_RETENTION_DAYS)
    pruned: int = 0
    with connections[using].cursor() as cursor:
        while True:
            cursor.execute(
                "DELETE FROM outbox_inbox WHERE ctid = ANY(ARRAY("
                "SELECT ctid FROM outbox_inbox WHERE at < %s LIMIT %s))",
                [oldest, PRUNE_BATCH],
            )
            pruned += cursor.rowcount
            if cursor.rowcount < PRUNE_BATCH:
                return pruned


def _change_log(statement: str, parameters: Sequence[int] = (), *, using: str) -> bool:
    """Run a statement that locks the whole log for a moment, unless somebody else holds it. Returns whether it ran."""
    try:
        with transaction.atomic(using=using), connections[using].cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", [LOCK_PATIENCE])
            cursor.execute(statement, parameters)
    except ProgrammingError as error:
        if not isinstance(error.__cause__, InsufficientPrivilege):
            raise
        # History is dropped by its owner: see docs/how-to/separate-the-owner.md.
        log.warning("outbox.partition.not_ours")
        return False
    except OperationalError as error:
        if not is_passing(error):
            raise
        log.warning("outbox.partition.locked", error=str(error))
        return False
    return True


def _partitions(cursor: Any) -> list[tuple[str, date]]:
    cursor.execute(
        "SELECT c.relname, right(c.relname, 8) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = ANY(%s::regclass[]) AND c.relname ~ '_[0-9]{8}$' ORDER BY i.inhparent, 1",
        [list(LOGS)],
    )
    return [
        (name, datetime.strptime(day, "%Y%m%d").date())  # noqa: DTZ007 - a day
        for name, day in cursor.fetchall()
    ]
