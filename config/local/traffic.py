"""Generated orders for the demo: a mix drawn from a seed, each with the end that it must come to."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from config.local.scenarios import SETTLING_SECONDS
from config.local.shop import Customer

_SEED = 1
# As many as the web processes have threads.
_AT_ONCE = 16
_POLL_SECONDS = 0.5
_PRODUCTS = (
    "TEA-GREEN", "TEA-BLACK", "TEA-MINT", "COFFEE-BEANS", "COFFEE-GROUND",
    "MUG-BLUE", "MUG-WHITE", "KETTLE", "GRINDER", "FILTER-100",
)  # fmt: skip
# Every pair in quantities of one to four: no customer orders the same twice within a second.
_BASKETS = [{a: m, b: n} for a, b in combinations(_PRODUCTS, 2) for m in range(1, 5) for n in range(1, 5)]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of order: its share of the mix, what is special about it, and its end."""

    share: float
    expected: str
    payment_method: str = "pm_card_visa"
    country: str = "DE"
    extra_sku: str = ""


_KINDS = (
    Kind(share=0.84, expected="CONFIRMED"),
    Kind(share=0.05, expected="CANCELLED payment_declined", payment_method="pm_card_visa_chargeDeclined"),
    Kind(share=0.04, expected="CANCELLED shipping_refused", country="AQ"),
    Kind(share=0.03, expected="CANCELLED out_of_stock", extra_sku="POT-SOLD-OUT"),
    Kind(share=0.02, expected="CONFIRMED", payment_method="pm_sim_timeout_charged"),
    Kind(share=0.02, expected="CONFIRMED", payment_method="pm_sim_timeout_not_charged"),
)


@dataclass(frozen=True, kw_only=True)
class Result:
    """How generated orders ended: counts of (expected, actual), and how long sending and settling took."""

    ends: Counter[tuple[str, str]]
    sending_seconds: float
    settling_seconds: float


async def run_traffic(*, customers: Sequence[Customer], orders: int) -> Result:
    """Send that many orders, a bounded number at once, wait until all are settled, and compare every end."""
    started = time.monotonic()
    draw = random.Random(_SEED)  # noqa: S311 - the same mix in every run is wanted
    kinds = draw.choices(_KINDS, weights=[kind.share for kind in _KINDS], k=orders)
    expected: dict[str, str] = {}
    gate = asyncio.Semaphore(_AT_ONCE)

    async def place(number: int, kind: Kind) -> None:
        items = dict(_BASKETS[number // len(customers) % len(_BASKETS)])
        if kind.extra_sku:
            items[kind.extra_sku] = 1
        async with gate:
            answer = await customers[number % len(customers)].order(
                items=items, payment_method=kind.payment_method, country=kind.country
            )
        expected[answer.raise_for_status().json()["id"]] = kind.expected

    await asyncio.gather(*(place(number, kind) for number, kind in enumerate(kinds)))
    sent = time.monotonic()
    await _wait_until_settled(customers, seconds=SETTLING_SECONDS + orders / 20)
    settled = time.monotonic()
    actual: dict[str, str] = {}
    for customer in customers:
        actual |= await customer.ends()
    ends = Counter((end, actual.get(order_id, "missing")) for order_id, end in expected.items())
    return Result(ends=ends, sending_seconds=sent - started, settling_seconds=settled - started)


async def _wait_until_settled(customers: Sequence[Customer], *, seconds: float) -> None:
    limit = time.monotonic() + seconds
    for customer in customers:
        while time.monotonic() < limit:
            if not await customer.has_unsettled_orders():
                break
            await asyncio.sleep(_POLL_SECONDS)
