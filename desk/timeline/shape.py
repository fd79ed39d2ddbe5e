"""The one shape that every entry of an order's story has, whichever room it comes from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet

Row = TypeVar("Row", bound=Model)

# Rows that are read at once when all are wanted.
CHUNK = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that happened: when, of which kind, what in a few words, and the rest as plain values.

    Of entries of one moment those of a lower `rank` come first, then those of a lower `place`. `milliseconds` is how
    long it took, for what takes time.
    """

    at: datetime
    kind: str
    what: str
    detail: dict[str, Any] = field(default_factory=dict)
    rank: int = 0
    place: int = 0
    milliseconds: int | None = None

    @property
    def position(self) -> tuple[datetime, int, int]:
        """Where it stands in the order of time."""
        return self.at, self.rank, self.place


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is read of a story: of which order, from which end, and how many entries at most (all if None)."""

    order_id: UUID
    newest_first: bool = False
    limit: int | None = None

    def rows(self, found: QuerySet[Row], *by: str) -> Iterable[Row]:
        """Return rows ordered by these columns, from the end that is wanted, and no more than are wanted."""
        ordered = found.order_by(*(f"-{name}" if self.newest_first else name for name in by))
        return ordered.iterator(chunk_size=CHUNK) if self.limit is None else ordered[: self.limit]

    def sorted(self, entries: Iterable[Entry]) -> list[Entry]:
        """Return entries that are few in the wanted order."""
        return sorted(entries, key=lambda entry: entry.position, reverse=self.newest_first)


def milliseconds(start: datetime | None, end: datetime | None) -> int | None:
    """Return how long something took, if it began and ended."""
    return None if start is None or end is None else round((end - start).total_seconds() * 1000)
