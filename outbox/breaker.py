"""One circuit breaker per gateway, shared by all workers: an outage is found once, and everybody waits for its end.

It opens after a few failures in a row. While it is open nobody calls; after a rest one call alone is let through as a
probe, whose success closes it and whose failure begins another rest. All of it is one hash in Redis that only scripts
change, by the clock of Redis, so that any number of workers agree and exactly one of them probes. Without Redis every
call is let pass, as if closed: then attempts are all that bounds the retries.

Why not a library's: pybreaker holds one lock during the call, so that the threads of a worker would call one after the
other, and lets all workers probe at once.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import redis
import structlog
from django.conf import settings

from outbox.consumers import CONSUMERS, Effectful
from outbox.metrics import BREAKER_BLIND, BREAKER_OPEN

log = structlog.get_logger(__name__)

# A message has four attempts or more. Three failures in a row open the breaker before one that is alone in the shop
# has spent them, and a service that answers anything in between is not away.
FAILURES_TO_OPEN = 3
# What has piled up comes back spread over this share of the outage, at most so many seconds: the longer it was, the
# more there is.
SPREAD_SHARE = 0.25
MOST_SPREAD_SECONDS = 30.0
# A breaker that an operator holds open has no next probe; messages look again after this long.
HELD_SECONDS = 30.0
# A relay asks once in this time whether it may claim for a gateway; each call asks again for itself.
LOOK_SECONDS = 0.05
# Redis that does not answer in this time is away, and is not asked again for a second.
REDIS_SECONDS = 0.25
SILENCE_SECONDS = 1.0

_NOW = """
local at = redis.call('TIME')
local now = at[1] * 1000 + math.floor(at[2] / 1000)
"""

# KEYS: the breaker. ARGV: how long a probe may take, 0 to look only; how long a held breaker rests. Returns whether it
# is open, whether the caller may probe, and milliseconds: until the next probe, since it opened.
_ASK = f"""{_NOW}
local line = redis.call('HMGET', KEYS[1], 'opened_at', 'probe_at', 'held_by')
if not line[1] then return {{0, 0, 0, 0}} end
local open_for = now - line[1]
if line[3] then return {{1, 0, tonumber(ARGV[2]), open_for}} end
if line[2] - now > 0 then return {{1, 0, line[2] - now, open_for}} end
if tonumber(ARGV[1]) > 0 then redis.call('HSET', KEYS[1], 'probe_at', now + ARGV[1]) end
return {{1, 1, 0, open_for}}
"""

# KEYS: the breaker. ARGV: failures that open it, milliseconds of rest, 1 for a probe. Returns as above, and whether
# this failure has opened it.
_FAILED = f"""{_NOW}
local line = redis.call('HMGET', KEYS[1], 'opened_at', 'probe_at')
if line[1] then
    local probe_at = line[2]
    if ARGV[3] == '1' then
        probe_at = now + ARGV[2]
        redis.call('HSET', KEYS[1], 'probe_at', probe_at)
    end
    return {{1, 0, math.max(0, probe_at - now), now - line[1], 0}}
end
if redis.call('HINCRBY', KEYS[1], 'failures', 1) < tonumber(ARGV[1]) then return {{0, 0, 0, 0, 0}} end
redis.call('HSET', KEYS[1], 'opened_at', now, 'probe_at', now + ARGV[2])
return {{1, 0, tonumber(ARGV[2]), 0, 1}}
"""

# KEYS: the breaker. ARGV: 1 for a probe. A success of a call that began before it opened does not close it, nor does
# any while an operator holds it open. Returns the milliseconds for which it was open, or -1 if nothing was closed.
_SUCCEEDED = f"""{_NOW}
local line = redis.call('HMGET', KEYS[1], 'opened_at', 'held_by')
if line[1] and (ARGV[1] == '0' or line[2]) then return -1 end
redis.call('DEL', KEYS[1])
return line[1] and now - line[1] or -1
"""

# KEYS: the breaker. ARGV: who holds it open.
_HOLD = f"""{_NOW}
redis.call('HSETNX', KEYS[1], 'opened_at', now)
redis.call('HSET', KEYS[1], 'held_by', ARGV[1])
"""

_client: redis.Redis | None = None
_silent_until = 0.0


class UnknownGateway(LookupError):
    """No handler calls a gateway of this name."""


class BreakerUnreachable(Exception):
    """Redis does not answer, so no breaker can be read or changed."""


@dataclass(frozen=True, slots=True)
class View:
    """What a breaker says. Seconds: `left` until the next probe, `open_for` since it opened."""

    is_open: bool = False
    may_probe: bool = False
    left: float = 0.0
    open_for: float = 0.0

    @property
    def refuses(self) -> bool:
        """Whether no call may be made."""
        return self.is_open and not self.may_probe

    @property
    def spread(self) -> float:
        """Over how many seconds those who wait come back."""
        share = min(self.open_for * SPREAD_SHARE, MOST_SPREAD_SECONDS)
        return max(share, settings.BREAKER_PROBE_SECONDS)

    def rest(self) -> float:
        """Return after how many seconds a message should try again: after the next probe, at a time of its own."""
        return self.left + random.uniform(0, self.spread)  # noqa: S311 - jitter, not a secret


CLOSED = View()
_looked: dict[str, tuple[float, View]] = {}


def ask(*, gateway: str, probe_seconds: float) -> View:
    """Ask before a call. One that may probe has to report within `probe_seconds`, or another one will. Never raises."""
    answer = _run(_ASK, gateway, _milliseconds(probe_seconds), _milliseconds(HELD_SECONDS))
    if answer is None:
        BREAKER_BLIND.labels(gateway).inc()
    return _view(answer)


def look(*, gateway: str) -> View:
    """Return what the breaker says, without a right to call; at most `LOOK_SECONDS` old. Never raises.

    Of all who look within that time only the first in this process learns that a probe is due.
    """
    now = time.monotonic()
    until, view = _looked.get(gateway, (0.0, CLOSED))
    if now < until:
        return view
    view = _view(_run(_ASK, gateway, 0, _milliseconds(HELD_SECONDS)))
    kept = View(True, False, LOOK_SECONDS, view.open_for) if view.may_probe else view
    _looked[gateway] = now + LOOK_SECONDS, kept
    return view


def look_again(*, gateway: str) -> None:
    """Let the next one who looks learn that a probe is due: the last one had nothing to probe with."""
    _looked.pop(gateway, None)


def succeeded(*, gateway: str, was_probe: bool) -> None:
    """Report an answer, whatever it was: it ends a row of failures, and that of a probe the outage. Never raises."""
    open_for = _run(_SUCCEEDED, gateway, int(was_probe))
    if open_for is not None and open_for >= 0:
        _looked.pop(gateway, None)
        BREAKER_OPEN.labels(gateway).set(0)
        log.warning("outbox.breaker.closed", gateway=gateway, open_seconds=open_for / 1000)


def failed(*, gateway: str, was_probe: bool, retry_after: float = 0.0) -> View:
    """Report that there was no answer. Returns what the breaker says now. Never raises.

    `retry_after` is when the service asked to be called again, in seconds.
    """
    rest = max(settings.BREAKER_PROBE_SECONDS, retry_after)
    answer = _run(_FAILED, gateway, FAILURES_TO_OPEN, _milliseconds(rest), int(was_probe))
    if answer is not None and answer[4]:
        BREAKER_OPEN.labels(gateway).set(1)
        log.error("outbox.breaker.opened", gateway=gateway, failures=FAILURES_TO_OPEN, next_probe_seconds=rest)
    return _view(answer)


# --- for operators ---


@dataclass(frozen=True, slots=True)
class Status:
    """A breaker as operators see it. `state` is `closed`, `open`, `held open` or, without Redis, `unknown`."""

    gateway: str
    state: str
    failures: int = 0
    since: datetime | None = None
    next_probe_at: datetime | None = None
    held_by: str = ""


def gateways() -> list[str]:
    """Return the names of all gateways that handlers call."""
    return sorted({handler.gateway for handler in _effectful() if handler.gateway})


def statuses() -> list[Status]:
    """Return how every breaker stands. Without Redis they are unknown."""
    return [_status(gateway) for gateway in gateways()]


def hold_open(*, gateway: str, operator: str) -> None:
    """Open a breaker until someone closes it: no probe, no call. Raises `UnknownGateway`, `BreakerUnreachable`."""
    _change(gateway, _HOLD, operator)
    BREAKER_OPEN.labels(gateway).set(1)
    log.error("outbox.breaker.held_open", gateway=gateway, operator=operator)


def close(*, gateway: str, operator: str) -> None:
    """Close a breaker at once, whoever has opened it. Raises `UnknownGateway`, `BreakerUnreachable`."""
    _change(gateway, "redis.call('DEL', KEYS[1])")
    BREAKER_OPEN.labels(gateway).set(0)
    log.warning("outbox.breaker.closed_by_hand", gateway=gateway, operator=operator)


def refresh_gauges() -> None:
    """Measure the breakers: the process that opened one may be gone."""
    for status in statuses():
        if status.state != "unknown":
            BREAKER_OPEN.labels(status.gateway).set(status.state != "closed")


def _effectful() -> Iterator[Effectful]:
    for consumer in CONSUMERS:
        for handler in consumer.handlers.values():
            if isinstance(handler, Effectful):
                yield handler


def _status(gateway: str) -> Status:
    try:
        found = _redis().hmget(_key(gateway), ["failures", "opened_at", "probe_at", "held_by"])
    except (redis.RedisError, OSError):
        return Status(gateway, "unknown")
    failures, opened_at, probe_at, held_by = (value.decode() if isinstance(value, bytes) else "" for value in found)
    if not opened_at:
        return Status(gateway, "closed", int(failures or 0))
    since = _time(opened_at)
    if held_by:
        return Status(gateway, "held open", int(failures or 0), since, None, held_by)
    return Status(gateway, "open", int(failures or 0), since, _time(probe_at))


def _change(gateway: str, script: str, *arguments: str) -> None:
    if gateway not in gateways():
        raise UnknownGateway(f"no gateway is named {gateway!r}; there are: {', '.join(gateways())}")
    try:
        _redis().eval(script, 1, _key(gateway), *arguments)
    except (redis.RedisError, OSError) as error:
        raise BreakerUnreachable(f"the breakers cannot be reached: {error}") from error
    _looked.pop(gateway, None)


def _run(script: str, gateway: str, *arguments: int) -> Any:
    """Return the answer of a script, or None when Redis cannot be asked."""
    global _silent_until  # noqa: PLW0603 - the back-off of this process
    if time.monotonic() < _silent_until:
        return None
    try:
        return _redis().eval(script, 1, _key(gateway), *arguments)
    except (redis.RedisError, OSError) as error:
        _silent_until = time.monotonic() + SILENCE_SECONDS
        log.warning("outbox.breaker.blind", gateway=gateway, error=str(error))
        return None


def _view(answer: list[int] | None) -> View:
    if answer is None:
        return CLOSED
    return View(bool(answer[0]), bool(answer[1]), answer[2] / 1000, answer[3] / 1000)


def _redis() -> redis.Redis:
    global _client  # noqa: PLW0603 - one pool per process
    if _client is None:
        _client = redis.Redis.from_url(
            settings.REDIS_URL,
            socket_timeout=REDIS_SECONDS,
            socket_connect_timeout=REDIS_SECONDS,
            client_name="breaker",
        )
    return _client


def _key(gateway: str) -> str:
    return f"saga-bridge:breaker:{gateway}"


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _time(milliseconds: str) -> datetime:
    return datetime.fromtimestamp(int(float(milliseconds)) / 1000, UTC)
