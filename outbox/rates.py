"""The limit of compensations as a person sets it: kept on the row of its bucket, so that all workers obey at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import connections
from django.db.models.functions import Now

from outbox import sql
from outbox.bucket import COMPENSATIONS
from outbox.models import TokenBucket

# What an operator may set. To stop them altogether there is a pause; beyond the upper bound the engine itself, at some
# two thousand sagas a second, would soon be what limits a storm.
LEAST_PER_SECOND, MOST_PER_SECOND = 1, 1_000


class OutOfBounds(ValueError):
    """A limit that no operator may set; the text says between which it must be."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How many compensations a second all workers together may send; who has changed it, when and why, if anybody."""

    per_second: int
    setting: int
    changed_by: str = ""
    changed_at: datetime | None = None
    reason: str = ""

    @property
    def is_changed(self) -> bool:
        """Whether an operator's limit holds and not the setting's."""
        return self.changed_at is not None


def rate(*, using: str = "default") -> Rate:
    """Return the limit of compensations that holds now."""
    return _rate(TokenBucket.objects.using(using).filter(name=COMPENSATIONS).first())


def set_rate(*, per_second: int | None, operator: str, reason: str, using: str = "default") -> Rate:
    """Let this limit of compensations hold for all workers from their next look on; None for the setting's.

    Returns what held before. The caller's transaction. Raises `OutOfBounds`.
    """
    if per_second is not None and not LEAST_PER_SECOND <= per_second <= MOST_PER_SECOND:
        raise OutOfBounds(f"{per_second} a second is out of bounds: {LEAST_PER_SECOND} to {MOST_PER_SECOND}")
    buckets = TokenBucket.objects.using(using)
    with connections[using].cursor() as cursor:
        cursor.execute(sql.ADD_BUCKET, [COMPENSATIONS])
    row = buckets.select_for_update().get(name=COMPENSATIONS)
    before = _rate(row)
    # Nothing but these: the tokens flow meanwhile.
    changed = (
        {"per_second": None, "changed_by": "", "changed_at": None, "reason": ""}
        if per_second is None
        else {"per_second": per_second, "changed_by": operator, "changed_at": Now(), "reason": reason}
    )
    buckets.filter(name=COMPENSATIONS).update(**changed)
    return before


def _rate(row: TokenBucket | None) -> Rate:
    setting = settings.COMPENSATIONS_PER_SECOND
    if row is None or row.per_second is None:
        return Rate(setting, setting)
    return Rate(row.per_second, setting, row.changed_by, row.changed_at, row.reason)
