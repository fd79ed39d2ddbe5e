"""Let Django empty the tables that refuse it, and leave their triggers on while a test runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.db.backends.base.creation import TEST_DATABASE_PREFIX
from django.db.backends.postgresql.operations import DatabaseOperations
from django.test.utils import setup_databases, teardown_databases
from pytest_django import DjangoDbBlocker

# Django does not know the partitioned logs as tables of its own, and the truncation of each partition is guarded.
_EMPTY_LOG = tuple(
    statement
    for table in ("outbox_message", "outbox_gateway_call")
    for statement in (
        f"ALTER TABLE {table} DISABLE TRIGGER outbox_append_only",
        f"DELETE FROM {table}",
        f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER outbox_append_only",
    )
)
_GUARDS = """
SELECT c.relname, t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE t.tgname LIKE '%no_truncate' AND t.tgenabled = 'A'
"""


@pytest.fixture(scope="session")
def django_db_setup(
    django_db_setup: None, django_db_keepdb: bool, django_db_blocker: DjangoDbBlocker
) -> Iterator[None]:
    """Make the flush after a transactional test empty the log too.

    It switches the guards off, and on again in the same transaction.
    """
    flush = DatabaseOperations.sql_flush
    if hasattr(flush, "guards"):
        # Another folder of tests has seen to it.
        yield
        return
    with _test_database(django_db_blocker, is_kept=django_db_keepdb), pytest.MonkeyPatch.context() as patch:
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            cursor.execute(_GUARDS)
            guards = cursor.fetchall()

        def flush_guarded(self: Any, style: Any, tables: Sequence[str], **options: Any) -> list[str]:
            flushed = flush(self, style, tables, **options)
            guarded = [(table, trigger) for table, trigger in guards if table in set(tables)]
            off = [f"ALTER TABLE {table} DISABLE TRIGGER {trigger}" for table, trigger in guarded]
            on = [f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}" for table, trigger in guarded]
            log = _EMPTY_LOG if "outbox_delivery" in tables else ()
            return [*off, *flushed, *on, *log]

        flush_guarded.guards = guards  # type: ignore[attr-defined]
        patch.setattr(DatabaseOperations, "sql_flush", flush_guarded)
        yield


@contextmanager
def _test_database(blocker: DjangoDbBlocker, *, is_kept: bool) -> Iterator[None]:
    """Make the test database for a run in which no test is marked as in need of one, too.

    pytest-django would leave the real one in its place, and tests that commit by themselves would write to it.
    """
    if connection.settings_dict["NAME"].startswith(TEST_DATABASE_PREFIX):
        yield
        return
    with blocker.unblock():
        made = setup_databases(verbosity=0, interactive=False, keepdb=is_kept)
    yield
    if not is_kept:
        with blocker.unblock():
            teardown_databases(made, verbosity=0)
