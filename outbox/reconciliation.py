"""Compare a ledger of the outside world with our rows, both ways, and settle the differences.

A sweep reads what the ledger has entered since the last one, and a little before, then looks for what we recorded
since and the ledger lacks. Most entries are explained by a row. Of the rest, one that arrived after it was undone is
taken back by its key; one that a command on its way may yet explain is watched; whatever stays unexplained beyond the
tolerance, or never can be explained, is put before a person, once. Nothing is ever taken back blind.

Any number of sweeps may run at once, and be killed anywhere: every step is safe to repeat.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

import structlog
from django.conf import settings
from django.db import connection, models, transaction
from django.db.models import ExpressionWrapper, F, Q
from django.db.models.functions import Least, Now

from outbox.consumers import TransientError
from outbox.ledgers import Book, Entry, Found, Recorded, State, TakingBackRefused, Verdict
from outbox.metrics import FINDINGS, RECONCILED_AT, REPAIRS, WATCHED
from outbox.transactions import on_commit

log = structlog.get_logger(__name__)

# So much of a ledger is compared at once.
PAGE = 5_000
# Read so far back before the mark: what was entered or recorded by a transaction that committed late.
OVERLAP = timedelta(seconds=30)
# The ledger is asked for so many orders with one call: their ids must fit into its address.
ORDERS_AT_ONCE = 50

Dealt: TypeAlias = Literal["explained", "open", "repaired", "reported"]


@dataclass(slots=True, kw_only=True)
class Report:
    """What one sweep came to. `findings` are those that were new; `watched` may still explain themselves."""

    ledger: str
    entries: int = 0
    repaired: int = 0
    watched: int = 0
    findings: list[Found] = field(default_factory=list)


def sweep(*, book: Book) -> Report:
    """Compare once, from the last mark to now. Raises: TransientError when the ledger cannot be read."""
    report = Report(ledger=book.name)
    mark, _ = book.marks.objects.get_or_create(ledger=book.name)
    seen = _read_entries(book, mark.entries_at, report)
    now = _database_now()
    _look_for_recorded(book, mark.rows_at, seen, report)
    left = book.sightings.objects.filter(ledger=book.name, settled_at__isnull=True).order_by("kind", "key")
    again = [sighting.entry for sighting in left if (sighting.kind, sighting.key) not in seen]
    _take_note(report, *deal(book=book, entries=again))
    report.watched = left.count()
    book.marks.objects.filter(ledger=book.name).update(rows_at=now, completed_at=Now())
    RECONCILED_AT.labels(book.name).set(now.timestamp())
    WATCHED.labels(book.name).set(report.watched)
    return report


def deal(*, book: Book, entries: Sequence[Entry]) -> tuple[list[Dealt], list[Found]]:
    """Judge entries and do what follows. Returns what became of each, in order, and what a person was newly told.

    Raises: TransientError when the outside world has to be asked and gives no answer.
    """
    if not entries:
        return [], []
    verdicts = [_take_back(book, *pair) for pair in zip(entries, book.judge(entries=entries), strict=True)]
    if "repaired" in verdicts:
        # What was taken back now explains others: its own refund, from a sweep that was killed before it recorded it.
        again = iter(book.judge(entries=[e for e, v in zip(entries, verdicts, strict=True) if isinstance(v, Verdict)]))
        verdicts = [next(again) if isinstance(v, Verdict) else v for v in verdicts]
    with transaction.atomic():
        dealt, found = _settle(book, entries, verdicts)
        new = report_mismatches(book=book, found=found)
    return dealt, new


def report_mismatches(*, book: Book, found: Sequence[Found]) -> list[Found]:
    """Put what is new of this before a person; returns it. The caller's transaction."""
    if not found:
        return []
    wanted = {(one.finding, one.key): one for one in found}
    rows = sorted(wanted.items())
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {book.mismatches.table()} (finding, key, order_id, detail) "  # noqa: S608 - our own name
            "SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[]) "
            "ON CONFLICT (finding, key) DO NOTHING RETURNING finding, key",
            [
                [finding for (finding, _), _ in rows],
                [key for (_, key), _ in rows],
                [one.order_id for _, one in rows],
                [one.detail for _, one in rows],
            ],
        )
        new = [wanted[pair] for pair in cursor.fetchall()]
    if new:
        book.tell(found=new)
        on_commit(lambda: _observe(book.name, new), "default")
    return new


def _read_entries(book: Book, mark: datetime | None, report: Report) -> set[tuple[str, str]]:
    seen: set[tuple[str, str]] = set()
    since = mark - OVERLAP if mark else None
    while True:
        entries = book.read(since=since, limit=PAGE)
        fresh = [entry for entry in entries if (entry.kind, entry.key) not in seen]
        report.entries += len(fresh)
        seen.update((entry.kind, entry.key) for entry in fresh)
        _take_note(report, *deal(book=book, entries=fresh))
        if not fresh:
            return seen
        since = max(entry.at for entry in entries)
        behind = Q(entries_at__isnull=True) | Q(entries_at__lt=since)
        book.marks.objects.filter(behind, ledger=book.name).update(entries_at=since)
        if len(entries) < PAGE:
            return seen


def _look_for_recorded(book: Book, mark: datetime | None, seen: Collection[tuple[str, str]], report: Report) -> None:
    """Ask for what we recorded and have not just read; what the ledger lacks even then is a mismatch."""
    recorded = book.recorded(since=mark - OVERLAP if mark else None)
    unseen = [row for row in recorded if (row.kind, row.key) not in seen]
    for chunk in _by_order(unseen):
        entries = book.read_orders(order_ids=sorted({row.order_id for row in chunk}))
        _take_note(report, *deal(book=book, entries=[e for e in entries if (e.kind, e.key) not in seen]))
        known = {(entry.kind, entry.key) for entry in entries}
        lacking = [row for row in chunk if (row.kind, row.key) not in known]
        with transaction.atomic():
            report.findings += report_mismatches(book=book, found=[_lacking(row) for row in lacking])


def _by_order(rows: Sequence[Recorded]) -> Iterator[list[Recorded]]:
    orders = sorted({row.order_id for row in rows})
    for i in range(0, len(orders), ORDERS_AT_ONCE):
        wanted = set(orders[i : i + ORDERS_AT_ONCE])
        yield [row for row in rows if row.order_id in wanted]


def _lacking(row: Recorded) -> Found:
    return Found(finding=row.finding, key=row.key, order_id=row.order_id, detail=row.detail)


def _take_back(book: Book, entry: Entry, verdict: Verdict) -> Verdict | Dealt:
    """Undo what is late. One that is refused stays open, until a person is told; an outage is waited out."""
    if verdict.state is not State.LATE:
        return verdict
    try:
        is_new = book.take_back(entry=entry)
    except TakingBackRefused as refusal:
        return Verdict(State.OPEN, f"late_{entry.kind}_refused", f"{verdict.detail}; to undo it is refused: {refusal}")
    except TransientError as error:
        log.warning("reconciliation.repair.put_off", ledger=book.name, key=entry.key, error=str(error))
        return Verdict(State.OPEN)
    if is_new:
        REPAIRS.labels(book.name).inc()
        log.warning("reconciliation.repaired", ledger=book.name, key=entry.key, order_id=entry.order_id)
    return "repaired" if is_new else "explained"


def _settle(
    book: Book, entries: Sequence[Entry], verdicts: Sequence[Verdict | Dealt]
) -> tuple[list[Dealt], list[Found]]:
    # What turned out to be late only now is taken back by the next sweep.
    ages = _watch(book, [e for e, v in zip(entries, verdicts, strict=True) if _is(v, State.OPEN) or _is(v, State.LATE)])
    dealt: list[Dealt] = []
    found: list[Found] = []
    for entry, verdict in zip(entries, verdicts, strict=True):
        if isinstance(verdict, str):
            dealt.append(verdict)
        elif verdict.state is State.EXPLAINED:
            dealt.append("explained")
        elif verdict.state is State.WRONG or (verdict.finding and ages[entry.kind, entry.key] > _tolerance()):
            found.append(_finding(entry, verdict))
            dealt.append("reported")
        else:
            dealt.append("open")
    _close(book, [(entry, end) for entry, end in zip(entries, dealt, strict=True) if end != "open"])
    return dealt, found


def _is(verdict: Verdict | Dealt, state: State) -> bool:
    return isinstance(verdict, Verdict) and verdict.state is state


def _finding(entry: Entry, verdict: Verdict) -> Found:
    return Found(
        finding=verdict.finding,
        key=entry.key,
        order_id=entry.order_id,
        detail=verdict.detail,
        amount=entry.amount,
        currency=entry.currency,
    )


def _watch(book: Book, entries: Sequence[Entry]) -> dict[tuple[str, str], timedelta]:
    """Remember entries that are open; returns how long each has been there, by whichever clock says longer."""
    if not entries:
        return {}
    rows = [
        book.sightings(
            ledger=book.name,
            kind=entry.kind,
            key=entry.key,
            order_id=entry.order_id,
            amount=entry.amount,
            currency=entry.currency,
            at=entry.at,
        )
        for entry in sorted(entries, key=lambda entry: (entry.kind, entry.key))
    ]
    sightings = book.sightings.objects
    sightings.bulk_create(rows, ignore_conflicts=True)
    age = ExpressionWrapper(Now() - Least(F("seen_at"), F("at")), output_field=models.DurationField())
    known = sightings.filter(ledger=book.name, key__in=[entry.key for entry in entries]).annotate(age=age)
    return {(kind, key): found for kind, key, found in known.values_list("kind", "key", "age")}


def _close(book: Book, ended: Sequence[tuple[Entry, Dealt]]) -> None:
    watched = book.sightings.objects.filter(ledger=book.name, settled_at__isnull=True)
    known = {(kind, key): pk for pk, kind, key in watched.values_list("pk", "kind", "key")}
    if not known:
        return
    for end in ("explained", "repaired", "reported"):
        over = [known[e.kind, e.key] for e, how in ended if how == end and (e.kind, e.key) in known]
        if over:
            watched.filter(pk__in=over).update(settled_at=Now(), outcome=end)


def _tolerance() -> timedelta:
    return timedelta(seconds=settings.RECONCILIATION_TOLERANCE_SECONDS)


def _take_note(report: Report, dealt: Sequence[Dealt], found: Sequence[Found]) -> None:
    report.repaired += dealt.count("repaired")
    report.findings += found


def _observe(ledger: str, found: Sequence[Found]) -> None:
    for one in found:
        FINDINGS.labels(ledger, one.finding).inc()
        log.error(
            "reconciliation.mismatch.found",
            ledger=ledger,
            finding=one.finding,
            key=one.key,
            order_id=one.order_id,
            detail=one.detail,
        )


def _database_now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        now: datetime = cursor.fetchone()[0]
        return now
