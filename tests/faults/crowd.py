"""Many orders at once, and what the outside world saw of them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx

from tests.shop import Shop

SKUS = ("TEA-GREEN", "TEA-BLACK", "TEA-MINT", "COFFEE-BEANS", "COFFEE-GROUND", "MUG-BLUE", "MUG-WHITE", "KETTLE")
# As many customers order at the same moment.
BROWSERS = 8
TRIES = 10


class Crowd:
    """Customers of one shop; no two of their orders are alike, so that none is taken for a double click."""

    def __init__(self, shop: Shop, *, customers: int) -> None:
        self._shop = shop
        self._customers = [shop.customer() for _ in range(customers)]
        self._ordered = 0

    def place(self, count: int, **options: str) -> list[str]:
        """Send so many checkouts as fast as the shop takes them; return the ids of the orders."""
        numbers = range(self._ordered, self._ordered + count)
        self._ordered += count
        with ThreadPoolExecutor(BROWSERS) as browsers:
            return list(browsers.map(lambda number: self._place(number, options), numbers))

    def place_at(self, rate: float, *, while_: Callable[[int], bool]) -> list[str]:
        """Send `rate` checkouts a second, whether or not earlier ones are done, while that holds for their number."""
        begun = time.monotonic()
        sent: list[Future[str]] = []
        with ThreadPoolExecutor(BROWSERS) as browsers:
            while while_(len(sent)):
                time.sleep(max(0.0, begun + len(sent) / rate - time.monotonic()))
                sent.append(browsers.submit(self._place, self._ordered, {}))
                self._ordered += 1
            return [one.result() for one in sent]

    def _place(self, number: int, options: dict[str, str]) -> str:
        round_, place = divmod(number, len(self._customers))
        quantity, kind = divmod(round_, len(SKUS))
        key = str(uuid.uuid4())
        for _ in range(TRIES):
            try:
                return self._customers[place].place({SKUS[kind]: 1 + quantity}, key=key, **options)
            except httpx.TransportError:
                # A busy machine: as any client does, ask again under the same key.
                time.sleep(0.5)
        raise AssertionError(f"the shop did not take order {number} in {TRIES} tries")


def statuses(shop: Shop, order_ids: Iterable[str]) -> dict[str, int]:
    """Return how many of these orders have which status."""
    rows = shop.query(
        "SELECT status, count(*) FROM orders_order WHERE id = ANY(%s::uuid[]) GROUP BY 1", list(order_ids)
    )
    return dict(rows)


def turned_back(shop: Shop, order_ids: Iterable[str]) -> list[tuple[Any, ...]]:
    """Return why which of these orders were turned back, if any were."""
    return shop.query(
        "SELECT reason, count(*) FROM sagas_sagainstance WHERE key = ANY(%s::uuid[]) AND reason <> '' GROUP BY 1",
        list(order_ids),
    )


def calls_at(shop: Shop, whose: str) -> list[float]:
    """Return when the `bank` or the `carrier` was called since its process began, in Unix seconds."""
    answer = httpx.get(f"{shop.environment[f'{whose.upper()}_URL']}/calls", timeout=30)
    return sorted(answer.raise_for_status().json()["calls"])


def fullest_second(times: Iterable[float]) -> int:
    """Return how many there were in the fullest second, whichever moment it begins at."""
    ordered, first, fullest = sorted(times), 0, 0
    for last, at in enumerate(ordered):
        while at - ordered[first] >= 1:
            first += 1
        fullest = max(fullest, last - first + 1)
    return fullest


def sleep_until(moment: float) -> None:
    """Sleep until this Unix time."""
    time.sleep(max(0.0, moment - time.time()))
