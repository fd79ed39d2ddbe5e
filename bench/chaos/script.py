"""What goes wrong, and when: a pure function of the seed, so that a run can be repeated and discussed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

KILL_EVERY_SECONDS = 2.0
NETWORK_EVERY_SECONDS = 4.0
# Shares of the run at which a server is taken away: often enough to be met, seldom enough for work in between.
DATABASE_RESTARTS = (0.3, 0.7)
BROKER_RESTARTS = (0.2, 0.5, 0.85)
ROLES = ("web", "relay", "effects", "compensations", "sweeps", "beat", "simulator")
LINKS = ("bank", "carrier", "database", "broker")
# A child of a pool dies more often than the whole worker: so does it in life, when memory runs out.
_WHOLE_ROLE = 0.4
_LONGEST_WEATHER_SECONDS = 2.5

CALM: Mapping[str, object] = MappingProxyType(
    {"latency_ms": 0, "jitter_ms": 0, "cut": False, "silent": False, "answers_lost": False}
)
_WEATHERS: tuple[Mapping[str, object], ...] = (
    {"latency_ms": 60, "jitter_ms": 120},
    {"cut": True},
    {"silent": True},
    {"answers_lost": True},
)
BANK = MappingProxyType(
    {"decline_ratio": 0.05, "timeout_ratio": 0.025, "timeout_charged_ratio": 0.025, "refund_refuse_ratio": 0.05}
)
"""How the bank behaves all the time: it times out for 5 %, half of them after it has charged."""
CARRIER = MappingProxyType({"refuse_ratio": 0.03})


class Kind(Enum):
    """What an event does."""

    KILL = "kill"
    KILL_CHILD = "kill a child"
    RESTART = "restart"
    WEATHER = "weather"


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that goes wrong `at` seconds after the start, to a role, a server or a link."""

    at: float
    kind: Kind
    target: str
    weather: Mapping[str, object] = field(default_factory=dict)


def draw(*, seed: int, seconds: float) -> Sequence[Event]:
    """Return all events in order of time. The last ones make every link calm again."""
    chance = random.Random(f"faults {seed}")
    events = [_kill(chance, at) for at in _every(KILL_EVERY_SECONDS, seconds)]
    events += [Event(at=share * seconds, kind=Kind.RESTART, target="postgres") for share in DATABASE_RESTARTS]
    events += [Event(at=share * seconds, kind=Kind.RESTART, target="valkey") for share in BROKER_RESTARTS]
    for at in _every(NETWORK_EVERY_SECONDS, seconds):
        link = chance.choice(LINKS)
        over = min(seconds, at + chance.uniform(0.5, _LONGEST_WEATHER_SECONDS))
        events.append(Event(at=at, kind=Kind.WEATHER, target=link, weather=chance.choice(_WEATHERS)))
        events.append(Event(at=over, kind=Kind.WEATHER, target=link, weather=CALM))
    return sorted(events, key=lambda event: event.at)


def _kill(chance: random.Random, at: float) -> Event:
    kind = Kind.KILL if chance.random() < _WHOLE_ROLE else Kind.KILL_CHILD
    return Event(at=at, kind=kind, target=chance.choice(ROLES))


def _every(step: float, seconds: float) -> list[float]:
    return [step * number for number in range(1, 1 + int(seconds / step)) if step * number < seconds]
