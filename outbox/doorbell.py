"""Wake a relay after a commit. A ring is a hint: it may be lost, doubled or late, and costs nothing but time then.

Each lane has a bell in Redis, a list that holds one ring at most. A relay with nothing to do listens to it for a
moment, so that the next step of an order starts within a millisecond and nobody polls. When no relay is awake, a ring
sends a Celery message too. Beat looks every second all the same: a lost ring costs a second, not an order.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import redis
import structlog
from celery import current_app
from django.conf import settings

from outbox import crash_points
from outbox.metrics import DOORBELL_LOST

log = structlog.get_logger(__name__)

# A relay that dies awake leaves its mark behind; after this long others send for a new one. Beat covers the gap.
AWAKE_MILLISECONDS = 2_000
# One call for help in this time: the others need a moment to come.
HELP_MILLISECONDS = 500
# After a failed ring stay silent for this long, so that a dead broker does not slow each checkout.
SILENCE_SECONDS = 1.0
# Without Redis there is no bell; a relay that wants to listen looks again after this long.
DEAF_SECONDS = 0.02

# KEYS: bell, mark of an awake relay. ARGV: life of both in milliseconds. Returns 1 when nobody is awake.
_RING = """
redis.call('LPUSH', KEYS[1], 1)
redis.call('LTRIM', KEYS[1], 0, 0)
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return redis.call('SET', KEYS[2], 1, 'NX', 'PX', ARGV[1]) and 1 or 0
"""

_clients: dict[float, redis.Redis] = {}
_silent_until = 0.0
_awake = threading.local()


def ring(lanes: Iterable[str], destinations: Iterable[tuple[str, str]] = ()) -> None:
    """Ring the bell of each lane but the caller's own, and send for a relay where none is awake. Never raises.

    A relay that rings notes which (lane, destination) of its own lane it has just given work to.
    """
    global _silent_until  # noqa: PLW0603 - the back-off of this process
    watch: Watch | None = getattr(_awake, "watch", None)
    own = watch.lane if watch else None
    if watch:
        watch.given |= {destination for lane, destination in destinations if lane == own}
    wanted = [lane for lane in lanes if lane != own]
    if not wanted:
        return
    if time.monotonic() < _silent_until:
        DOORBELL_LOST.inc(len(wanted))
        return
    for lane in wanted:
        try:
            if _ring(lane, _mark(lane), AWAKE_MILLISECONDS):
                send(lane)
        except Exception as error:  # noqa: BLE001 - whatever fails here, the beat rings within a second
            _silent_until = time.monotonic() + SILENCE_SECONDS
            DOORBELL_LOST.inc()
            log.warning("outbox.doorbell.lost", lane=lane, error=str(error))


def call_help(lane: str) -> None:
    """Ask for one more relay of a lane: this one found more than a batch can carry. Never raises."""
    try:
        if _ring(lane, f"saga-bridge:help:{lane}", HELP_MILLISECONDS):
            send(lane)
    except Exception as error:  # noqa: BLE001 - as above
        log.warning("outbox.doorbell.lost", lane=lane, error=str(error))


def send(lane: str) -> None:
    """Queue one run of the relay of a lane, without regard to who is awake."""
    crash_points.call(
        f"send {lane}",
        lambda: current_app.send_task("outbox.tasks.relay", args=(lane,), queue=lane, expires=10, retry=False),
        lost=lambda: redis.ConnectionError("the answer is lost"),
    )


def call(task: str, *, queue: str = "sweeps") -> None:
    """Bring the next turn of a sweep forward to now. Never raises: beat runs it in its turn all the same."""
    try:
        crash_points.call(
            f"call {task}",
            lambda: current_app.send_task(task, queue=queue, expires=10, retry=False),
            lost=lambda: redis.ConnectionError("the answer is lost"),
        )
    except Exception as error:  # noqa: BLE001 - as above
        DOORBELL_LOST.inc()
        log.warning("outbox.doorbell.lost", task=task, error=str(error))


class Watch:
    """One relay that is awake: it keeps its mark, listens to the bell, and takes the mark off before it sleeps."""

    def __init__(self, lane: str) -> None:
        self.lane = lane
        # Destinations that this relay's own commits have given work to since it last looked.
        self.given: set[str] = set()
        self.ask_at = 0.0
        self._renew_at = 0.0

    def keep(self) -> None:
        """Renew the mark in time; a Redis that is away only costs extra messages."""
        now = time.monotonic()
        if now >= self._renew_at:
            self._renew_at = now + AWAKE_MILLISECONDS / 4_000
            try:
                _redis().set(_mark(self.lane), 1, px=AWAKE_MILLISECONDS)
            except (redis.RedisError, OSError):
                DOORBELL_LOST.inc()

    def listen(self, seconds: float) -> None:
        """Return when the bell rings, or after so many seconds."""
        try:
            _redis(seconds + 1).blpop([_bell(self.lane)], timeout=seconds)
        except (redis.RedisError, OSError):
            time.sleep(DEAF_SECONDS)

    def release(self) -> None:
        """Take the mark off: whoever commits from now on sends for a relay. Look once more after this."""
        self._renew_at = 0.0
        try:
            _redis().delete(_mark(self.lane))
        except (redis.RedisError, OSError):
            DOORBELL_LOST.inc()


@contextmanager
def awake(lane: str) -> Iterator[Watch]:
    """Mark this thread as a relay of a lane: its own commits do not ring for that lane."""
    watch = Watch(lane)
    _awake.watch = watch
    try:
        yield watch
    finally:
        _awake.watch = None
        watch.release()


def _ring(lane: str, mark: str, milliseconds: int) -> bool:
    return crash_points.call(
        f"ring {lane}",
        lambda: bool(_redis().eval(_RING, 2, _bell(lane), mark, milliseconds)),
        lost=lambda: redis.ConnectionError("the answer is lost"),
    )


def _redis(timeout: float = 0.25) -> redis.Redis:
    """Return a client that waits so long for an answer, one pool per process."""
    if timeout not in _clients:
        _clients[timeout] = redis.Redis.from_url(
            settings.REDIS_URL, socket_timeout=timeout, socket_connect_timeout=0.25, client_name="doorbell"
        )
    return _clients[timeout]


def _mark(lane: str) -> str:
    return f"saga-bridge:awake:{lane}"


def _bell(lane: str) -> str:
    return f"saga-bridge:bell:{lane}"
