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
CREATE INDEX IF NOT EXISTS entries_by_time ON entries (service, json_extract(body, '$.at'));
CREATE TABLE IF NOT EXISTS webhooks (
    webhook INTEGER PRIMARY KEY, event_id TEXT NOT NULL UNIQUE, body TEXT NOT NULL, entered_at REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, due_at REAL NOT NULL, sent_at REAL
);
CREATE INDEX IF NOT EXISTS webhooks_waiting ON webhooks (due_at) WHERE sent_at IS NULL;
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
_SINCE = """SELECT entry, body FROM entries
WHERE service = ? AND json_extract(body, '$.at') >= ? ORDER BY entry LIMIT ?"""
_FIRST = "SELECT entry, body FROM entries WHERE service = ? ORDER BY entry LIMIT ?"
_CONTROL = "SELECT state FROM controls WHERE service = ?"
_CHARGE_ENTRY = "SELECT body FROM entries WHERE subject = ?2 AND service = ?1 AND kind = 'charge'"
_ADD_WEBHOOK = "INSERT INTO webhooks (event_id, body, entered_at, due_at) VALUES (?, ?, ?, ?)"
_DUE_WEBHOOKS = """SELECT webhook, body, attempts FROM webhooks
WHERE sent_at IS NULL AND due_at <= ? ORDER BY webhook {order} LIMIT ?"""
_SET_CONTROL = "INSERT OR REPLACE INTO controls (service, state) VALUES (?, ?)"


def write_time(moment: datetime) -> str:
    """Write a time so that texts sort as times do."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


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

    def enter(self, *, service: str, kind: str, subject: str, fact: dict[str, Any]) -> dict[str, Any]:
        """Append the fact that something happened to a subject (the key of a charge or shipment); return the entry.

        An amount in the fact is in minor units. Raises: sqlite3.IntegrityError if it was entered before.
        """
        entry = {**fact, "kind": kind, "at": write_time(datetime.now(UTC))}
        row = (service, subject, kind, fact["key"], fact["order_id"], fact.get("amount"), render(entry))
        self._connection.execute(_ENTER, row)
        return entry

    def find_charge_entry(self, *, service: str, key: str) -> dict[str, Any] | None:
        """Return the entry of a charge by its key."""
        row = self._connection.execute(_CHARGE_ENTRY, (service, key)).fetchone()
        entry: dict[str, Any] | None = json.loads(row[0]) if row else None
        return entry

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

    def list_entries(self, *, service: str, since: str | None, limit: int) -> str:
        """Return at most so many entries, oldest first, as one JSON array: those made at this time or later."""
        if since is None:
            rows = self._connection.execute(_FIRST, (service, limit))
        else:
            rows = self._connection.execute(_SINCE, (service, since, limit))
        return "[" + ",".join(body for _, body in rows) + "]"

    def add_webhook(self, *, event_id: str, body: str, now: float) -> None:
        """Put an event into the queue of webhooks, with the transaction of what it tells of; `now` in seconds."""
        self._connection.execute(_ADD_WEBHOOK, (event_id, body, now, now))

    def list_webhooks(self, *, now: float, limit: int, newest_first: bool) -> list[tuple[int, str, int]]:
        """Return webhooks that are due: number, body, attempts so far."""
        statement = _DUE_WEBHOOKS.format(order="DESC" if newest_first else "ASC")
        return self._connection.execute(statement, (now, limit)).fetchall()

    def settle_webhook(self, *, number: int, now: float) -> None:
        """Note that a webhook was taken."""
        self._connection.execute("UPDATE webhooks SET sent_at = ? WHERE webhook = ?", (now, number))

    def put_off_webhook(self, *, number: int, due_at: float) -> None:
        """Note that a webhook was not taken, and when to send it again."""
        statement = "UPDATE webhooks SET attempts = attempts + 1, due_at = ? WHERE webhook = ?"
        self._connection.execute(statement, (due_at, number))

    def read_control(self, *, service: str) -> dict[str, Any]:
        """Return the fault settings last saved for a service; empty if there are none."""
        row = self._connection.execute(_CONTROL, (service,)).fetchone()
        state: dict[str, Any] = json.loads(row[0]) if row else {}
        return state

    def save_control(self, *, service: str, state: dict[str, Any]) -> None:
        """Save the fault settings of a service."""
        self._connection.execute(_SET_CONTROL, (service, render(state)))
