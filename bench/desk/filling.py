"""Fill a fresh database with a week of a busy shop."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import psycopg

from bench.desk import rows

# Orders written with one statement: ten times as many messages, a few hundred megabytes of memory.
CHUNK = 50_000


def fill(*, cases: int, messages: int, say: Callable[[str], None]) -> None:
    """Write so many messages with their orders and sagas, so many cases, and as many lines and deliveries."""
    sizes = {
        "orders": max(messages // rows.MESSAGES_PER_ORDER, cases),
        "cases": cases,
        "log": cases,
        "deliveries": cases,
    }
    began = time.monotonic()
    # A connection of its own: several statements at once, and no limit on how long one takes.
    with (
        psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, cursor_factory=psycopg.ClientCursor) as connection,
        connection.cursor() as cursor,
    ):
        # A setting of this session alone: what is lost with the machine is written again.
        cursor.execute("SET synchronous_commit = off")
        for statement in rows.FIRST:
            cursor.execute(statement, sizes)
        for first in range(1, sizes["orders"] + 1, CHUNK):
            for statement in rows.IN_CHUNKS:
                cursor.execute(statement, {"first": first, "last": first + CHUNK - 1})
            say(f"{min(first + CHUNK - 1, sizes['orders']):,} of {sizes['orders']:,} orders, {_since(began)}")
        for statement in rows.LAST:
            cursor.execute(statement, sizes)
        say(f"filled, {_since(began)}; tidying up")
        cursor.execute("VACUUM (ANALYZE)")
        cursor.execute("CHECKPOINT")
    say(f"ready, {_since(began)}")


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.0f} s"
