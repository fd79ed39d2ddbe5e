"""Where a relay begins to look: beyond the rows that are gone and cannot be cleaned away yet.

While anybody holds a snapshot open, vacuum has to keep every delivery that was settled since, and each look for what
is due would step over all of them first. They lie at the beginning of the index, by due time, so after a look that
cost much the next ones begin where something was found. What became visible late, or was blocked or held by another
relay meanwhile, lies before that place: every so often a look begins at the beginning again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
# A look over a clean index costs less than this, and so much more for each row that it returns.
CHEAP_SECONDS = 0.002
CHEAP_SECONDS_PER_ROW = 0.000_05
# Looks from the beginning may take this share of the time, and are never further apart than a second.
FULL_SHARE = 0.05
MOST_SECONDS_APART = 1.0
# A due time is that of the beginning of its transaction, which may have taken a moment to commit.
MARGIN = timedelta(milliseconds=250)

Key: TypeAlias = tuple[str, ...]


@dataclass(slots=True)
class Look:
    """One look: where it begins, and what it found. Nothing is due before `first`."""

    floor: datetime
    first: datetime | None = None
    rows: int = 0

    def found(self, due_times: Iterable[datetime]) -> None:
        """Note what it found."""
        times = list(due_times)
        self.first, self.rows = min(times, default=None), len(times)


@dataclass(slots=True)
class Horizon:
    """The places where the looks of one run of a relay begin: of its claims, and of its questions who has work."""

    _floors: dict[Key, datetime] = field(default_factory=dict)
    _full_at: dict[Key, float] = field(default_factory=dict)

    @contextmanager
    def look(self, destination: str, types: Sequence[str]) -> Iterator[Look]:
        """Look for deliveries of these types: the block does so from the floor on, and says what it found."""
        key = (destination, *types)
        began, is_full = self._begin(key)
        look = Look(BEGINNING if is_full else self._floors.get(key, BEGINNING))
        yield look
        if look.first is not None:
            self._floors[key] = self._floors[destination,] = look.first - MARGIN
        self._end(key, began, is_full, look.rows)

    @contextmanager
    def look_at_all(self, destinations: Sequence[str]) -> Iterator[dict[str, Look]]:
        """Ask which destinations have work at all; one that has none says since when in `first`."""
        began, is_full = self._begin(())
        looks = {name: Look(BEGINNING if is_full else self._floors.get((name,), BEGINNING)) for name in destinations}
        yield looks
        for name, look in looks.items():
            if look.first is not None:
                self._floors[name,] = look.first - MARGIN
        self._end((), began, is_full, len(looks))

    def _begin(self, key: Key) -> tuple[float, bool]:
        now = time.monotonic()
        return now, now >= self._full_at.get(key, 0.0)

    def _end(self, key: Key, began: float, is_full: bool, rows: int) -> None:
        if not is_full:
            return
        took = time.monotonic() - began
        is_cheap = took < CHEAP_SECONDS + rows * CHEAP_SECONDS_PER_ROW
        self._full_at[key] = time.monotonic() + (0.0 if is_cheap else min(took / FULL_SHARE, MOST_SECONDS_APART))
