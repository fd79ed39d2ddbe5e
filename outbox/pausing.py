"""Stop a destination for a while: what is said to it waits, whole and in order, and no attempt is counted.

The relay asks in one statement who has something due, and a paused destination has nothing: whatever the handler and
the lane, it is neither claimed nor looked at again, within a twentieth of a second. What was claimed before is carried
through. The deadlines of what waits hold as in an outage: for `OUTAGE_PATIENCE_SECONDS`, not longer.
"""

from __future__ import annotations

from django.db import connections
from django.db.models.functions import Now

from outbox import doorbell
from outbox.consumers import CONSUMERS
from outbox.models import Lane, Pause
from outbox.transactions import on_commit, require_transaction

# One that is paused already keeps who has paused it. Waits for a concurrent change. Index: primary key.
_PAUSE = """
INSERT INTO outbox_pause (destination, compensations_only, paused_by, reason)
VALUES (%s, %s, %s, %s)
ON CONFLICT (destination) DO UPDATE
SET compensations_only = excluded.compensations_only, paused_at = now(), paused_by = excluded.paused_by,
    reason = excluded.reason, resumed_at = NULL
WHERE outbox_pause.resumed_at IS NOT NULL
"""


class PauseRefused(ValueError):
    """A pause that cannot be made or ended; the text says why."""


def pauses(*, using: str = "default") -> list[Pause]:
    """Return the pauses that hold now, by destination."""
    return list(Pause.objects.using(using).filter(resumed_at__isnull=True).order_by("destination"))


def pause(
    *, destination: str, operator: str, reason: str, compensations_only: bool = False, using: str = "default"
) -> None:
    """Hand nothing more to this destination, or no compensations, until it is resumed. The caller's transaction.

    Raises `PauseRefused` for an unknown destination, and for one that is paused.
    """
    require_transaction(using)
    if destination not in CONSUMERS:
        known = ", ".join(sorted(consumer.name for consumer in CONSUMERS))
        raise PauseRefused(f"no destination is named {destination!r}; there are: {known}")
    with connections[using].cursor() as cursor:
        cursor.execute(_PAUSE, [destination, compensations_only, operator, reason])
        if not cursor.rowcount:
            raise PauseRefused(f"{destination} is paused already; resume it first")


def resume(*, destination: str, using: str = "default") -> Pause:
    """Hand on again what waits for this destination, at once. Returns the pause that is over. The caller's transaction.

    Raises `PauseRefused` for one that is not paused.
    """
    require_transaction(using)
    paused = Pause.objects.using(using).select_for_update()
    held = paused.filter(destination=destination, resumed_at__isnull=True).first()
    if held is None:
        raise PauseRefused(f"{destination} is not paused")
    held.resumed_at = Now()
    held.save(using=using, update_fields=["resumed_at"])
    on_commit(lambda: doorbell.ring(Lane.values), using)
    return held
