"""The relay of one lane: look what is due, hand it on, until nothing is left. Adaptive, and safe in any number.

It lingers for a moment after the last message, listening to the bell, since the next step of the same order usually
comes within milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db import connections

from outbox import bucket, doorbell
from outbox.claims import due
from outbox.consumers import CONSUMERS, Consumer, Effectful
from outbox.effects import EffectPump
from outbox.joined import deliver
from outbox.metrics import THROTTLED
from outbox.models import Lane

# One run ends after this long, so that Celery can shut down, and a stuck process is told from a busy one.
RUN_SECONDS = 20.0
# How long it stays awake with nothing to do: listening costs nothing, a new Celery message some milliseconds.
LINGER_SECONDS = 1.0
# While it listens it looks this often all the same: a retry that comes due rings no bell.
LISTEN_SECONDS = 0.2
# So long it follows its own trail of work before it asks again what else is due.
ASK_SECONDS = 0.05
# Between two looks while the global limit holds compensations back.
PAUSE_SECONDS = 0.003
# While calls are in flight it waits for the first answer, but looks for new work this often.
LOOK_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class _Source:
    consumer: Consumer
    joined: tuple[str, ...]
    effectful: tuple[str, ...]


def run(*, lane: str, seconds: float = RUN_SECONDS, linger: float = LINGER_SECONDS, using: str = "default") -> int:
    """Deliver what is due in this lane until nothing was due for `linger` seconds. Returns the messages claimed.

    Any number of runs may work on one lane. Raises what concerns the database as a whole; nothing is lost then.
    """
    _keep_plans(using)
    sources = [_source(consumer) for consumer in CONSUMERS]
    pump = EffectPump(using=using)
    total = 0
    stop_at = time.monotonic() + seconds
    idle_since = time.monotonic()
    with doorbell.awake(lane) as watch:
        try:
            while time.monotonic() < stop_at:
                watch.keep()
                claimed = _deliver_due(sources, lane, pump, using, watch)
                total += claimed
                if claimed + pump.collect(seconds=0 if claimed else LOOK_SECONDS) or pump.busy:
                    idle_since = time.monotonic()
                elif time.monotonic() - idle_since < linger:
                    if not watch.given:
                        watch.listen(LISTEN_SECONDS)
                else:
                    watch.release()
                    last = _deliver_due(sources, lane, pump, using, watch)
                    total += last
                    if not last:
                        break
                    idle_since = time.monotonic()
            else:
                # Time is up with work at hand: let another run take over, without a wait for the beat.
                doorbell.call_help(lane)
        finally:
            pump.close()
    return total


def _keep_plans(using: str) -> None:
    """Plan each statement once per connection: planning a claim over many partitions costs more than running it."""
    with connections[using].cursor() as cursor:
        cursor.execute("SET plan_cache_mode = force_generic_plan")


def _deliver_due(sources: Sequence[_Source], lane: str, pump: EffectPump, using: str, watch: doorbell.Watch) -> int:
    ready = _ready(sources, lane, using, watch)
    claimed = 0
    for source in sources:
        if source.consumer.name not in ready:
            continue
        if source.joined:
            limit = _allowed(source, settings.RELAY_BATCH, using, watch)
            if limit:
                one = deliver(consumer=source.consumer, lane=lane, types=source.joined, limit=limit, using=using)
                claimed += _account(lane, limit, one, using)
        if source.effectful and pump.room:
            limit = _allowed(source, pump.room, using, watch)
            if limit:
                one = pump.claim(consumer=source.consumer, lane=lane, types=source.effectful, limit=limit)
                claimed += _account(lane, limit, one, using)
    return claimed


def _ready(sources: Sequence[_Source], lane: str, using: str, watch: doorbell.Watch) -> set[str]:
    """Return whom to look at: those whom the last pass gave work, and every so often whoever has something due."""
    given, watch.given = watch.given, set()
    if given and time.monotonic() < watch.ask_at:
        return given
    watch.ask_at = time.monotonic() + ASK_SECONDS
    return due(lane=lane, destinations=[source.consumer.name for source in sources], using=using)


def _allowed(source: _Source, wanted: int, using: str, watch: doorbell.Watch) -> int:
    if watch.lane != Lane.COMPENSATIONS:
        return wanted
    granted = bucket.take(wanted, using=using)
    if not granted:
        THROTTLED.inc()
        # No bell rings when the bucket has filled up: come back soon.
        watch.given.add(source.consumer.name)
        time.sleep(PAUSE_SECONDS)
    return granted


def _account(lane: str, limit: int, claimed: int, using: str) -> int:
    if lane == Lane.COMPENSATIONS:
        bucket.give_back(limit - claimed, using=using)
    elif claimed == limit:
        doorbell.call_help(lane)
    return claimed


def _source(consumer: Consumer) -> _Source:
    effectful = {kind.wire_type for kind, handler in consumer.handlers.items() if isinstance(handler, Effectful)}
    joined = {kind.wire_type for kind in consumer.handlers} - effectful
    return _Source(consumer, tuple(sorted(joined)), tuple(sorted(effectful)))
