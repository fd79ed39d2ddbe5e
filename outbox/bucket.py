"""The global limit of compensations: one token bucket for all workers, kept as a row.

A storm of turning sagas must not become a storm on the participants. The clock is the database's.
"""

from __future__ import annotations

from django.conf import settings
from django.db import connections

from outbox import sql

COMPENSATIONS = "compensations"

# A bucket lets through its content plus what flows in: a tenth held and nine tenths flowing make one limit per
# second, whichever second one looks at.
HELD_SHARE = 0.1


def take(wanted: int, *, using: str = "default") -> int:
    """Take up to `wanted` tokens. Returns how many were granted, perhaps 0. Safe for any number of workers."""
    limit = settings.COMPENSATIONS_PER_SECOND
    capacity = max(1.0, limit * HELD_SHARE)
    rate = max(limit - capacity, limit * (1 - HELD_SHARE))
    with connections[using].cursor() as cursor:
        cursor.execute(sql.TAKE_TOKENS, [wanted, capacity, rate, COMPENSATIONS, wanted])
        row = cursor.fetchone()
    return int(row[0])


def give_back(unused: int, *, using: str = "default") -> None:
    """Return tokens for which nothing was due."""
    if unused > 0:
        with connections[using].cursor() as cursor:
            cursor.execute(sql.GIVE_BACK_TOKENS, [unused, COMPENSATIONS])
