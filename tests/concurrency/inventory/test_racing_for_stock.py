"""Many orders race for few pieces: exactly the pieces are sold, and nobody sees an error."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from django.db import connections, transaction

from inventory.contracts import InventoryReserved, ReserveInventory
from inventory.handlers import release_inventory, reserve_inventory
from inventory.models import Reservation, Stock
from outbox.consumers import Outcome
from tests.factories.envelopes import envelope
from tests.factories.inventory import levels, release, reserve, stocked

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["inventory"])

Result = TypeVar("Result")
WORKERS = 8


def at_once(work: Sequence[Callable[[], Result]]) -> list[Result]:
    """Run each piece of work in a transaction of its own, all started together, `WORKERS` at a time."""
    start = threading.Barrier(WORKERS)
    shares = [work[number::WORKERS] for number in range(WORKERS)]

    def run(share: Sequence[Callable[[], Result]]) -> list[Result]:
        try:
            start.wait(timeout=10)
            results = []
            for piece in share:
                with transaction.atomic():
                    results.append(piece())
            return results
        finally:
            connections.close_all()

    with ThreadPoolExecutor(WORKERS) as pool:
        return [result for results in pool.map(run, shares) for result in results]


def reserving(commands: Sequence[ReserveInventory]) -> Callable[[], list[Outcome]]:
    return lambda: reserve_inventory([envelope(command) for command in commands])


def test_two_hundred_orders_for_the_last_fifty_pieces() -> None:
    stocked("MUG", on_hand=50)
    orders = [reserve(MUG=1) for _ in range(200)]

    outcomes = at_once([reserving([order]) for order in orders])

    won = Counter(type(outcome) is InventoryReserved for [outcome] in outcomes)
    assert won == {True: 50, False: 150}
    assert levels("MUG") == (0, 50)
    assert Reservation.objects.filter(status="held").count() == 50


def test_batches_with_the_same_skus_in_other_orders_do_not_deadlock() -> None:
    skus = [f"SKU-{number:02}" for number in range(20)]
    for sku in skus:
        stocked(sku, on_hand=10_000)
    shuffle = random.Random(1)
    batches = [[reserve(**dict.fromkeys(shuffle.sample(skus, 10), 1)) for _ in range(10)] for _ in range(80)]

    outcomes = at_once([reserving(batch) for batch in batches])

    assert {type(outcome) for batch in outcomes for outcome in batch} == {InventoryReserved}
    assert sum(Stock.objects.values_list("reserved", flat=True)) == 80 * 10 * 10


def test_reserving_and_releasing_at_once_loses_nothing() -> None:
    skus = ["MUG", "PEN", "TEA"]
    for sku in skus:
        stocked(sku, on_hand=1_000)
    held = [reserve(MUG=1, TEA=1, PEN=1) for _ in range(100)]
    reserve_inventory([envelope(order) for order in held])
    work: list[Callable[[], list[Outcome]]] = []
    for order in held:
        work.append(lambda order=order: release_inventory([envelope(release(order))]))  # type: ignore[misc]
        work.append(reserving([reserve(TEA=1, MUG=1)]))

    at_once(work)

    assert [levels(sku) for sku in skus] == [(900, 100), (1_000, 0), (900, 100)]
