"""The durable memory of bank and carrier: answers by key, entries of what really happened, fault settings.

Durability: SQLite in WAL mode with `synchronous=NORMAL`. A commit returns after its pages were handed to
the kernel with write(), and the kernel's page cache outlives the process: kill -9 at any moment loses no
committed entry, and a half-written transaction fails its checksum and is ignored. Only a crash of the machine
itself could drop the latest commits (never tear one), and that is not a fault this simulator is asked to
survive. In exchange no commit waits for the disk; only a checkpoint does.

Concurrency: the event loop runs one transaction at a time from BEGIN IMMEDIATE to COMMIT without awaiting, so
calls with the same key are served one after the other; should two processes open one ledger, the lock does
the same.
"""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from simulator.wire import Refusal, render

PAGE_ENTRIES = 1000
"""Entries rendered per turn of the event loop: about a millisecond, so reading never stalls the charges."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    scope TEXT NOT NULL, key TEXT NOT NULL, request TEXT NOT NULL, status INTEGER, body TEXT,
    PRIMARY KEY (scope, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entries (
    entry INTEGER PRIMARY KEY, service TEXT NOT NULL, subject TEXT NOT NULL, kind TEXT NOT NULL,
    key TEXT NOT NULL, order_id TEXT NOT NULL, amount INTEGER, body TEXT NOT NULL,
    UNIQUE (subject, service, kind, key)
);
CREATE INDEX IF NOT EXISTS entries_of_order ON entries (order_id);
CREATE TABLE IF NOT EXISTS controls (service TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
"""
_INTENT = "SELECT request, status, body FROM answers WHERE scope = ? AND key = ?"
_REMEMBER = "INSERT OR REPLACE INTO answers (scope, key, request, status, body) VALUES (?, ?, ?, ?, ?)"
_ENTER = "INSERT INTO entries (service, subject, kind, key, order_id, amount, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
_TOTAL = "SELECT count(*), coalesce(sum(amount), 0) FROM entries WHERE service = ? AND subject = ? AND kind = ?"
_LAST = "SELECT coalesce(max(entry), 0) FROM entries"
_PAGE = "SELECT body FROM entries WHERE entry > ? AND entry <= ? AND service = ? ORDER BY entry"
_OF_ORDERS = """SELECT body FROM entries
WHERE order_id IN (SELECT value FROM json_each(?)) AND service = ? ORDER BY entry"""
_CONTROL = "SELECT state FROM controls WHERE service = ?"
_SET_CONTROL = "INSERT OR REPLACE INTO controls (service, state) VALUES (?, ?)"


@dataclass(frozen=True, slots=True)
class Answer:
    """What was, or will be, sent for a key: status and JSON body, the same bytes every time."""

    status: int
    body: str


@dataclass(frozen=True, slots=True)
class Intent:
    """What is known of a key: the request it belongs to, and its answer once there is one."""

    request: str
    answer: Answer | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a keyed call came to: its answer, or none if it fell silent; whether it repeats an earlier one."""

    answer: Answer | None
    replayed: bool = False


class Ledger:
    """The one connection to the ledger's file."""

    def __init__(self, *, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file; whatever was committed stays."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the block as one transaction, rolled back if it raises."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def once(
        self,
        *,
        scope: str,
        key: str,
        request: dict[str, Any],
        silent_at_first: bool,
        act: Callable[[], Answer],
    ) -> Outcome:
        """Do an action once per key and repeat its answer ever after.

        The action, its entries and its answer are committed together before this returns. An action that
        raises leaves nothing behind, so that the next call asks anew. With `silent_at_first` the first call
        for the key does nothing and has no answer; that it was made is remembered. Raises: Refusal 409 for
        another request under a key in use, and whatever the action raises.
        """
        canonical = render(request)
        with self.transaction():
            intent = self.find_intent(scope=scope, key=key)
            if intent is not None and intent.request != canonical:
                raise Refusal(409, "key_reused", "this Idempotency-Key was used with another request")
            if intent is not None and intent.answer is not None:
                return Outcome(intent.answer, replayed=True)
            if intent is None and silent_at_first:
                self._connection.execute(_REMEMBER, (scope, key, canonical, None, None))
                return Outcome(None)
            answer = act()
            self._connection.execute(_REMEMBER, (scope, key, canonical, answer.status, answer.body))
        return Outcome(answer)

    def find_intent(self, *, scope: str, key: str) -> Intent | None:
        """Return what is known of a key."""
        row = self._connection.execute(_INTENT, (scope, key)).fetchone()
        if row is None:
            return None
        request, status, body = row
        return Intent(request, None if status is None else Answer(status, body))

    def enter(self, *, service: str, kind: str, subject: str, fact: dict[str, Any]) -> None:
        """Append the fact that something happened to a subject (the key of a charge or shipment).

        An amount in the fact is in minor units. Raises: sqlite3.IntegrityError if it was entered before.
        """
        body = render({**fact, "kind": kind, "at": datetime.now(UTC).isoformat(timespec="microseconds")})
        row = (service, subject, kind, fact["key"], fact["order_id"], fact.get("amount"), body)
        self._connection.execute(_ENTER, row)

    def count_and_total(self, *, service: str, kind: str, subject: str) -> tuple[int, int]:
        """Return how many such facts a subject has, and the sum of their amounts in minor units."""
        count, total = self._connection.execute(_TOTAL, (service, subject, kind)).fetchone()
        return count, total

    async def stream_entries(self, *, service: str, order_ids: Sequence[str]) -> AsyncIterator[str]:
        """Yield the entries, oldest first, as the pieces of one JSON array; of all orders if none are named.

        The array is a snapshot of the moment it was asked for: entries are only appended, in the order of
        their commits, so reading page by page up to the last one of that moment needs no open transaction.
        """
        (last,) = self._connection.execute(_LAST).fetchone()
        separator = "["
        for start in range(0, 0 if order_ids else last, PAGE_ENTRIES):
            page = (start, min(start + PAGE_ENTRIES, last), service)
            if bodies := [body for (body,) in self._connection.execute(_PAGE, page)]:
                yield separator + ",".join(bodies)
                separator = ","
            await asyncio.sleep(0)
        if order_ids:
            rows = self._connection.execute(_OF_ORDERS, (json.dumps(order_ids), service))
            yield separator + ",".join(body for (body,) in rows)
            separator = ","
        yield "[]" if separator == "[" else "]"

    def read_control(self, *, service: str) -> dict[str, Any]:
        """Return the fault settings last saved for a service; empty if there are none."""
        row = self._connection.execute(_CONTROL, (service,)).fetchone()
        state: dict[str, Any] = json.loads(row[0]) if row else {}
        return state

    def save_control(self, *, service: str, state: dict[str, Any]) -> None:
        """Save the fault settings of a service."""
        self._connection.execute(_SET_CONTROL, (service, render(state)))
