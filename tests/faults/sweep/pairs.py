"""Pairs of crashes around the money: a second crash during the recovery from the first.

Of all pairs those are played that could take money twice or lose sight of it: holding a claim, with the bank asked but
the answer not heard, with the answer heard but not recorded, and recorded but not known to be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from outbox.crash_points import Side, Target
from tests.faults.sweep.sweeping import Point, Sweep, find_points

# A recovery is learned from so many runs.
_LEARNING_RUNS = 2
# Of each recovery at most so many crashes are played: it retries what a single crash has shown already.
SECONDS_PER_FIRST = 3

_BANK = "bank "
_RECORDS = {"payments_payment", "payments_refund"}


def crash_in_pairs(sweep: Sweep) -> None:
    """Crash at each telling place around the money, learn the recovery, and crash in that too."""
    for first, role in _telling(sweep.points):
        recoveries = []
        for _ in range(_LEARNING_RUNS):
            trial = sweep.crash_at(first, roles=(role,))
            places = [place for place, entry in enumerate(trial.journal) if entry.side]
            recoveries.append(trial.journal[places[0] + 1 :] if places else [])
        points, _ = find_points(recoveries)
        for second, second_role in _spread(list(_telling(points))):
            sweep.crash_at(first, second, roles=(role, second_role))


def _telling(points: Sequence[Point]) -> Iterator[tuple[Target, str]]:
    """Yield where to crash around each call of the bank and each record of it."""
    for place, point in enumerate(points):
        is_claim = point.name.startswith("commit ") and any(
            later.name.startswith(_BANK) for later in _next_of(point.role, points[place + 1 :])
        )
        sides: tuple[Side, ...] = ()
        if _RECORDS & set(point.name.split()):
            sides = (Side.BEFORE, Side.LOST)
        elif point.name.startswith(_BANK):
            sides = (Side.AFTER, Side.LOST)
        elif is_claim:
            sides = (Side.AFTER,)
        for side in sides:
            yield point.at(side), point.role


def _next_of(role: str, points: Sequence[Point]) -> Iterator[Point]:
    """Yield what the role passes next, if it is no token of the bucket."""
    for point in points:
        if point.role == role and "tokenbucket" not in point.name:
            yield point
            return


def _spread(targets: list[tuple[Target, str]]) -> list[tuple[Target, str]]:
    """Return so many of them as are played, evenly from first to last."""
    if len(targets) <= SECONDS_PER_FIRST:
        return targets
    step = (len(targets) - 1) / (SECONDS_PER_FIRST - 1)
    return [targets[round(number * step)] for number in range(SECONDS_PER_FIRST)]
