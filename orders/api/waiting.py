"""`Prefer: wait=N` (RFC 7240): hold the answer back until the order has settled.

Whoever waits holds a thread of the web server, so only so many may wait at a time in one process; the others
are told 202 at once, which the preference allows.
"""

from __future__ import annotations

import re
import threading
import time
from uuid import UUID

from django.db import Error, connection

from orders.selectors import is_settled

LONGEST_SECONDS = 30
# Of the 8 threads of a web process two are always left for those who do not wait.
MAX_WAITING = 6
# Most orders settle within 50 ms; a slow one is not worth asking for often.
_FIRST_PAUSE_SECONDS = 0.01
_LONGEST_PAUSE_SECONDS = 0.25

_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?=[,;]|$)", re.IGNORECASE)
_places = threading.BoundedSemaphore(MAX_WAITING)


def preferred_wait(*, header: str | None) -> int:
    """Return the seconds that a Prefer header asks to wait, at most 30; 0 if it does not ask."""
    wanted = _WAIT.search(header or "")
    return min(int(wanted[1]), LONGEST_SECONDS) if wanted else 0


def wait_until_settled(*, order_id: UUID, seconds: int) -> bool:
    """Wait until the order has settled; tell whether it has.

    No transaction is open while it waits, and a pooled connection is given back. The order is accepted
    already, so a database that is away now only ends the waiting.
    """
    if not seconds or not _places.acquire(blocking=False):
        return False
    try:
        return _poll(order_id, time.monotonic() + seconds)
    except Error:
        return False
    finally:
        _places.release()


def _poll(order_id: UUID, deadline: float) -> bool:
    pause = _FIRST_PAUSE_SECONDS
    while not is_settled(order_id=order_id):
        if connection.settings_dict["OPTIONS"].get("pool"):
            connection.close()
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)
    return True
