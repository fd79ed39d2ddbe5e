"""Look what is due although nobody rings: the broker is away, or beat is stopped.

A worker of Celery's hears nothing then and would sleep until both are back. Each of its processes that has run a relay
keeps a thread, which looks by itself once its lane has been silent for longer than beat ever is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from django.db import connections

from outbox.metrics import UNRUNG
from outbox.transactions import is_passing

log = structlog.get_logger(__name__)

# Beat rings every second, and the processes of a lane share its rings.
SILENCE_SECONDS = 3.0
LOOK_SECONDS = 1.0


class Vigil:
    """Whoever is `at_work` for a lane has been rung; `look` is what is done for a lane that is silent."""

    def __init__(self, look: Callable[[str], int]) -> None:
        self._look = look
        self._lock = threading.Lock()
        self._at_work: dict[str, int] = {}
        self._rung_at: dict[str, float] = {}
        self._thread: threading.Thread | None = None

    @contextmanager
    def at_work(self, lane: str) -> Iterator[None]:
        """Note that this lane was rung, and watch over it from now on in this process."""
        with self._lock:
            self._at_work[lane] = self._at_work.get(lane, 0) + 1
            if self._thread is None:
                # A daemon: a worker that is told to stop does not wait for it, and a lost claim returns.
                self._thread = threading.Thread(target=self._watch, name="vigil", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._at_work[lane] -= 1
                self._rung_at[lane] = time.monotonic()

    def silent(self) -> list[str]:
        """Return the lanes for which nobody works here, nor has rung for a while."""
        limit = time.monotonic() - SILENCE_SECONDS
        with self._lock:
            return [lane for lane, at in self._rung_at.items() if not self._at_work[lane] and at < limit]

    def look(self) -> None:
        """Do the work of the silent lanes. Never raises: whatever it is, the next look comes in a second."""
        for lane in self.silent():
            UNRUNG.labels(lane).inc()
            try:
                done = self._look(lane)
            except Exception as error:
                if is_passing(error):
                    log.warning("outbox.vigil.database_away", lane=lane, error=str(error).strip().splitlines()[0])
                else:
                    log.exception("outbox.vigil.failed", lane=lane)
            else:
                if done:
                    log.warning("outbox.vigil.delivered", lane=lane, messages=done)
            finally:
                connections.close_all()

    def _watch(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            self.look()
