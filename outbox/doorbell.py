"""Wake a relay after a commit. A ring is a hint: it may be lost, doubled or late, and costs nothing but time then.

Rings are debounced through Redis: while a relay is awake for a lane (it polls and will look once more before it
sleeps), nobody needs to ring. Beat rings every second all the same, so a lost ring costs a second, not an order.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import redis
import structlog
from celery import current_app
from django.conf import settings

from outbox.metrics import DOORBELL_LOST

log = structlog.get_logger(__name__)

# A relay that dies awake leaves its mark behind; after this long others ring again. Beat covers the gap.
AWAKE_MILLISECONDS = 2_000
# One call for help in this time: the others need a moment to come.
HELP_MILLISECONDS = 500
# After a failed ring stay silent for this long, so that a dead broker does not slow each checkout.
SILENCE_SECONDS = 1.0

_client: redis.Redis | None = None
_silent_until = 0.0
_awake = threading.local()


def ring(lanes: Iterable[str]) -> None:
    """Send one Celery message per lane, unless its relay is awake already. Never raises."""
    global _silent_until  # noqa: PLW0603 - the back-off of this process
    own: str | None = getattr(_awake, "lane", None)
    wanted = [lane for lane in lanes if lane != own]
    if not wanted:
        return
    if time.monotonic() < _silent_until:
        DOORBELL_LOST.inc(len(wanted))
        return
    for lane in wanted:
        try:
            if _redis().set(_mark(lane), 1, nx=True, px=AWAKE_MILLISECONDS):
                send(lane)
        except Exception as error:  # noqa: BLE001 - whatever fails here, the beat rings within a second
            _silent_until = time.monotonic() + SILENCE_SECONDS
            DOORBELL_LOST.inc()
            log.warning("outbox.doorbell.lost", lane=lane, error=str(error))


def call_help(lane: str) -> None:
    """Ask for one more relay of a lane: this one found more than a batch can carry. Never raises."""
    try:
        if _redis().set(f"saga-bridge:help:{lane}", 1, nx=True, px=HELP_MILLISECONDS):
            send(lane)
    except Exception as error:  # noqa: BLE001 - as above
        log.warning("outbox.doorbell.lost", lane=lane, error=str(error))


def send(lane: str) -> None:
    """Queue one run of the relay of a lane, without regard to who is awake."""
    current_app.send_task("outbox.tasks.relay", args=(lane,), queue=lane, expires=10, retry=False)


class Watch:
    """The mark of one awake relay; `keep` renews it, `release` takes it off."""

    def __init__(self, lane: str) -> None:
        self._lane = lane
        self._renew_at = 0.0

    def keep(self) -> None:
        """Renew the mark in time; a Redis that is away only costs extra rings."""
        now = time.monotonic()
        if now >= self._renew_at:
            self._renew_at = now + AWAKE_MILLISECONDS / 4_000
            self._try(lambda client: client.set(_mark(self._lane), 1, px=AWAKE_MILLISECONDS))

    def release(self) -> None:
        """Take the mark off: whoever commits from now on rings. Look once more after this."""
        self._renew_at = 0.0
        self._try(lambda client: client.delete(_mark(self._lane)))

    def _try(self, call: Callable[[redis.Redis], object]) -> None:
        try:
            call(_redis())
        except redis.RedisError:
            DOORBELL_LOST.inc()


@contextmanager
def awake(lane: str) -> Iterator[Watch]:
    """Mark this thread as the relay of a lane: its own commits do not ring for that lane."""
    watch = Watch(lane)
    _awake.lane = lane
    try:
        yield watch
    finally:
        _awake.lane = None
        watch.release()


def _redis() -> redis.Redis:
    global _client  # noqa: PLW0603 - one pool per process
    if _client is None:
        _client = redis.Redis.from_url(
            settings.REDIS_URL, socket_timeout=0.25, socket_connect_timeout=0.25, client_name="doorbell"
        )
    return _client


def _mark(lane: str) -> str:
    return f"saga-bridge:awake:{lane}"
