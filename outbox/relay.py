"""The relay of one lane: look what is due, hand it on, until nothing is left. Adaptive, and safe in any number.

It lingers for a moment after the last message, listening to the bell, since the next step of the same order usually
comes within milliseconds.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db import connections

from outbox import breaker, bucket, doorbell
from outbox.claims import due, put_off
from outbox.consumers import CONSUMERS, Consumer, Effectful
from outbox.effects import EffectPump
from outbox.horizon import Horizon
from outbox.joined import deliver
from outbox.models import Lane

# One run ends after this long, so that Celery can shut down, and a stuck process is told from a busy one.
RUN_SECONDS = 20.0
# How long it stays awake with nothing to do: listening costs nothing, a new Celery message some milliseconds.
LINGER_SECONDS = 1.0
# While it listens it looks this often all the same: a retry that comes due rings no bell.
LISTEN_SECONDS = 0.2
# So long it follows its own trail of work before it asks again what else is due.
ASK_SECONDS = 0.05
# Between two looks while a global limit holds messages back.
PAUSE_SECONDS = 0.003
# While calls are in flight it waits for the first answer, but looks for new work this often.
LOOK_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class _Line:
    """The effectful types of a consumer that one gateway carries out; `calls` is the most that one message takes."""

    gateway: str
    calls: int
    types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Source:
    consumer: Consumer
    joined: tuple[str, ...]
    lines: tuple[_Line, ...]


def run(*, lane: str, seconds: float = RUN_SECONDS, linger: float = LINGER_SECONDS, using: str = "default") -> int:
    """Deliver what is due in this lane until nothing was due for `linger` seconds. Returns the messages claimed.

    Any number of runs may work on one lane. Raises what concerns the database as a whole; nothing is lost then.
    """
    _keep_plans(using)
    sources = [_source(consumer) for consumer in CONSUMERS]
    horizon = Horizon()
    pump = EffectPump(using=using, horizon=horizon)
    total = 0
    stop_at = time.monotonic() + seconds
    idle_since = time.monotonic()
    with doorbell.awake(lane) as watch:
        try:
            while time.monotonic() < stop_at:
                watch.keep()
                claimed = _deliver_due(sources, lane, pump, using, watch, horizon)
                total += claimed
                if claimed + pump.collect(seconds=0 if claimed else LOOK_SECONDS) or pump.busy:
                    idle_since = time.monotonic()
                elif time.monotonic() - idle_since < linger:
                    if not watch.given:
                        watch.listen(LISTEN_SECONDS)
                else:
                    watch.release()
                    last = _deliver_due(sources, lane, pump, using, watch, horizon)
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


def _deliver_due(
    sources: Sequence[_Source], lane: str, pump: EffectPump, using: str, watch: doorbell.Watch, horizon: Horizon
) -> int:
    ready = _ready(sources, lane, using, watch, horizon)
    claimed = 0
    for source in sources:
        if source.consumer.name not in ready:
            continue
        if source.joined:
            claimed += _deliver_joined(source, lane, using, watch, horizon)
        for line in source.lines:
            if pump.room:
                claimed += _claim_effectful(source, line, lane, pump, using, watch)
    return claimed


def _ready(sources: Sequence[_Source], lane: str, using: str, watch: doorbell.Watch, horizon: Horizon) -> set[str]:
    """Return whom to look at: those whom the last pass gave work, and every so often whoever has something due."""
    given, watch.given = watch.given, set()
    if given and time.monotonic() < watch.ask_at:
        return given
    watch.ask_at = time.monotonic() + ASK_SECONDS
    destinations = [source.consumer.name for source in sources]
    return due(lane=lane, destinations=destinations, using=using, horizon=horizon)


def _deliver_joined(source: _Source, lane: str, using: str, watch: doorbell.Watch, horizon: Horizon) -> int:
    limits = _limits(lane)
    allowed = _allow(limits, settings.RELAY_BATCH, source, using, watch)
    if not allowed:
        return 0
    claimed = deliver(
        consumer=source.consumer, lane=lane, types=source.joined, limit=allowed, using=using, horizon=horizon
    )
    return _account(lane, limits, allowed, claimed, using)


def _claim_effectful(
    source: _Source, line: _Line, lane: str, pump: EffectPump, using: str, watch: doorbell.Watch
) -> int:
    wanted, view = pump.room, breaker.CLOSED
    if line.gateway:
        view = breaker.look(gateway=line.gateway)
        if view.refuses:
            put_off(
                consumer=source.consumer,
                lane=lane,
                types=line.types,
                seconds=view.left,
                spread=view.spread,
                reason=f"the {line.gateway} is away",
                using=using,
            )
            return 0
        if view.may_probe:
            wanted = min(wanted, 1)
    limits = _limits(lane, line)
    if limits:
        # What was allowed now must be called now, not when its turn comes: it would meet what is allowed then.
        wanted = min(wanted, pump.idle)
    allowed = _allow(limits, wanted, source, using, watch) if wanted else 0
    claimed = 0
    if allowed:
        claimed = pump.claim(consumer=source.consumer, lane=lane, types=line.types, limit=allowed)
        _account(lane, limits, allowed, claimed, using)
    if view.may_probe and not claimed:
        # Nobody probes by this line; another one of the same gateway may have what it takes.
        breaker.look_again(gateway=line.gateway)
    return claimed


def _limits(lane: str, line: _Line | None = None) -> list[bucket.Limit]:
    limits = [bucket.of_compensations()] if lane == Lane.COMPENSATIONS else []
    if line and line.gateway and (limit := bucket.of_gateway(line.gateway, calls=line.calls)):
        limits.append(limit)
    return limits


def _allow(limits: Sequence[bucket.Limit], wanted: int, source: _Source, using: str, watch: doorbell.Watch) -> int:
    """Return how many messages all limits allow, and take their tokens."""
    allowed = wanted
    for position, limit in enumerate(limits):
        granted = limit.take(allowed, using=using)
        for earlier in limits[:position]:
            earlier.give_back(allowed - granted, using=using)
        allowed = granted
        if not allowed:
            limit.throttled.inc()
            # No bell rings when the bucket has filled up: come back soon.
            watch.given.add(source.consumer.name)
            time.sleep(PAUSE_SECONDS)
            break
    return allowed


def _account(lane: str, limits: Sequence[bucket.Limit], allowed: int, claimed: int, using: str) -> int:
    for limit in limits:
        limit.give_back(allowed - claimed, using=using)
    if claimed == allowed > 1 and not limits:
        doorbell.call_help(lane)
    return claimed


def _source(consumer: Consumer) -> _Source:
    effectful = {k.wire_type: h for k, h in consumer.handlers.items() if isinstance(h, Effectful)}
    joined = {kind.wire_type for kind in consumer.handlers} - effectful.keys()
    lines: dict[tuple[str, int], list[str]] = defaultdict(list)
    for wire_type, handler in sorted(effectful.items()):
        lines[handler.gateway, handler.calls].append(wire_type)
    return _Source(consumer, tuple(sorted(joined)), tuple(_Line(*key, tuple(types)) for key, types in lines.items()))
