"""What the customers want: a pure function of the seed, the same for every flow that is compared."""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

SCARCE = "POT-CHAOS"
PLENTY = 1_000_000
PRICES: Mapping[str, int] = {
    "TEA-GREEN": 690, "TEA-BLACK": 550, "TEA-MINT": 420, "COFFEE-BEANS": 1890, "COFFEE-GROUND": 980,
    "MUG-BLUE": 1200, "MUG-WHITE": 1100, "KETTLE": 3995, "GRINDER": 5400, "FILTER-100": 349, SCARCE: 12900,
}  # fmt: skip
"""What everything costs, in minor units."""
# Every pair in quantities of one to four: no customer orders the same twice within a second.
_BASKETS = [
    {a: m, b: n}
    for a, b in combinations([sku for sku in PRICES if sku != SCARCE], 2)
    for m in range(1, 5)
    for n in range(1, 5)
]
_SCARCE_SHARE = 0.1
# The scarce product is there for half of those who want it.
_SCARCE_SUPPLY = 0.5
_TWICE_SHARE = 0.1
_CANCEL_SHARE = 0.05
_RETURN_SHARE = 0.05
_LATEST_SECOND_THOUGHT_SECONDS = 4.0


@dataclass(frozen=True, kw_only=True)
class Wish:
    """One order: when it is sent, by whom, under which key, how many times it is clicked, and what is asked later."""

    at: float
    customer: int
    key: str
    items: Mapping[str, int]
    clicks: int = 1
    later: str = ""
    later_after: float = 0.0


def draw(*, seed: int, seconds: float, rate: float, customers: int) -> Sequence[Wish]:
    """Return `rate` wishes a second, evenly spread whatever becomes of the earlier ones."""
    chance = random.Random(f"wishes {seed}")
    wishes = []
    for number in range(int(rate * seconds)):
        items = dict(_BASKETS[number // customers % len(_BASKETS)])
        if chance.random() < _SCARCE_SHARE:
            items[SCARCE] = 1
        thought = chance.random()
        later = "cancel" if thought < _CANCEL_SHARE else ""
        if _CANCEL_SHARE <= thought < _CANCEL_SHARE + _RETURN_SHARE:
            later = "returns"
        wishes.append(
            Wish(
                at=number / rate,
                customer=number % customers,
                key=str(uuid.UUID(int=chance.getrandbits(128), version=4)),
                items=items,
                clicks=2 if chance.random() < _TWICE_SHARE else 1,
                later=later,
                later_after=chance.uniform(0.0, _LATEST_SECOND_THOUGHT_SECONDS),
            )
        )
    return wishes


def stock(wishes: Sequence[Wish]) -> Mapping[str, int]:
    """Return how many pieces of each product are loaded: plenty, and too few of the scarce one."""
    wanted = sum(wish.items.get(SCARCE, 0) for wish in wishes)
    return dict.fromkeys(PRICES, PLENTY) | {SCARCE: max(1, int(wanted * _SCARCE_SUPPLY))}
