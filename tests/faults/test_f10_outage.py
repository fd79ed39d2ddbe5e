"""F10: bank or carrier is away under load. The breaker opens, attempts are not burnt, nothing turns back.

Afterwards everything completes within its deadline, and nobody outside sees more calls than the configured rate.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from outbox.consumers import OUTAGE
from tests.faults.conftest import FIGURES
from tests.faults.crowd import Crowd, calls_at, fullest_second, sleep_until, statuses, turned_back
from tests.running import running_shop
from tests.shop import Shop

PROBE_SECONDS = 2.0
CALLS_PER_SECOND = 100
DOWN_SECONDS = 45.0
ORDERS = 400
# From the first failure until everybody has heard of it: calls in flight end with their time-out.
NOTICED_SECONDS = 4.0
# What is left of five minutes for the charge step after 45 s of outage is plenty on a busy machine.
SETTLE_SECONDS = 200.0


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """Start a shop whose gateways have a limit."""
    with running_shop(
        name="f10",
        GATEWAY_TIMEOUT_SECONDS="1",
        BREAKER_PROBE_SECONDS=str(PROBE_SECONDS),
        GATEWAY_CALLS_PER_SECOND=str(CALLS_PER_SECOND),
    ) as shop:
        yield shop
        assert shop.audit() == (0, [])


@pytest.fixture(scope="module")
def crowd(shop: Shop) -> Crowd:
    """Bring the customers in."""
    crowd = Crowd(shop, customers=40)
    settle(shop, crowd.place(20))
    return crowd


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Show what was measured at the end of the run."""
    return lambda text: record_property(FIGURES, text)


def settle(shop: Shop, order_ids: list[str]) -> None:
    """Wait until all are confirmed; none may ever have turned back."""

    def is_confirmed() -> bool:
        assert turned_back(shop, order_ids) == []
        return statuses(shop, order_ids) == {"CONFIRMED": len(order_ids)}

    shop.wait_until(is_confirmed, seconds=SETTLE_SECONDS)


def attempts_spent(shop: Shop, order_ids: list[str]) -> dict[str, int]:
    """Return how many failed attempts of these orders counted, by what was decided."""
    return dict(
        shop.query(
            "SELECT decision, count(*) FROM outbox_attempt WHERE ordering_key = ANY(%s::uuid[]) GROUP BY 1", order_ids
        )
    )


def longest_seconds(shop: Shop, order_ids: list[str]) -> float:
    """Return how long the slowest of these sagas took."""
    [(seconds,)] = shop.query(
        "SELECT extract(epoch FROM max(ended_at - started_at))::float8 FROM sagas_sagainstance"
        " WHERE key = ANY(%s::uuid[])",
        order_ids,
    )
    return float(seconds)


def test_f10_a_bank_that_is_down_for_45_seconds_costs_nothing_but_time(
    shop: Shop, crowd: Crowd, figures: Callable[[str], None]
) -> None:
    """400 orders meet a bank that answers 503 to everything."""
    shop.control("bank", down=True)
    down_at = time.time()
    order_ids = crowd.place(ORDERS)
    placed_at = time.time()
    sleep_until(down_at + DOWN_SECONDS - 2)
    waiting = shop.query(
        "SELECT error_class, attempts, count(*) FROM outbox_delivery WHERE destination = 'payments' GROUP BY 1, 2"
    )
    shown = shop.manage("breaker", "--json")
    still_pending = statuses(shop, order_ids)
    sleep_until(down_at + DOWN_SECONDS)
    shop.control("bank", down=False)
    up_at = time.time()
    settle(shop, order_ids)
    settled_at = time.time()

    calls = calls_at(shop, "bank")
    probes = [at for at in calls if placed_at < at < up_at and at > down_at + NOTICED_SECONDS]
    after = [at for at in calls if at >= up_at]
    figures(
        f"down: placed {ORDERS} in {placed_at - down_at:.1f} s; {len(probes)} probes;"
        f" all confirmed {settled_at - up_at:.1f} s after the bank was back;"
        f" fullest second after: {fullest_second(after)} calls of {CALLS_PER_SECOND};"
        f" attempts spent: {attempts_spent(shop, order_ids)}"
    )
    assert still_pending == {"PENDING": ORDERS}
    assert '"open"' in shown.stdout
    assert sum(count for error_class, _, count in waiting if error_class == OUTAGE) == ORDERS
    assert max(attempts for _, attempts, _ in waiting) <= 2
    assert sum(attempts_spent(shop, order_ids).values()) <= 4
    assert "given_up" not in attempts_spent(shop, order_ids)
    assert probes
    assert all(later - earlier > 0.8 * PROBE_SECONDS for earlier, later in pairwise(probes))
    assert len(after) >= ORDERS
    assert fullest_second(after) <= CALLS_PER_SECOND
    assert longest_seconds(shop, order_ids) < 300


def test_f10_a_bank_that_hangs_costs_nothing_but_time(shop: Shop, crowd: Crowd, figures: Callable[[str], None]) -> None:
    """Every call runs into the client's time-out, and is carried out later all the same: looked up, charged once."""
    shop.control("bank", latency_ms=4_000)
    order_ids = crowd.place(80)
    time.sleep(10)
    shop.control("bank", latency_ms=0)

    settle(shop, order_ids)

    spent = attempts_spent(shop, order_ids)
    figures(f"hanging: attempts spent: {spent}")
    assert spent.keys() <= {"retry"}
    assert spent.get("retry", 0) <= 8
    charged = [shop.bank(order_id) for order_id in order_ids]
    assert all([kind for kind, _ in entries] == ["charge"] for entries in charged)


def test_f10_an_outside_world_whose_process_is_dead_costs_nothing_but_time(
    shop: Shop, crowd: Crowd, figures: Callable[[str], None]
) -> None:
    """Connections to bank and carrier are refused for ten seconds."""
    shop.kill("simulator")
    order_ids = crowd.place(80)
    time.sleep(10)
    shop.tend()

    settle(shop, order_ids)

    spent = attempts_spent(shop, order_ids)
    figures(f"dead: attempts spent: {spent}")
    assert spent.keys() <= {"retry"}
    assert spent.get("retry", 0) <= 8


def test_f10_an_order_that_is_alone_in_the_shop_survives(shop: Shop, crowd: Crowd) -> None:
    """Nobody else's failures open the breaker for it."""
    shop.control("bank", down=True)
    order_ids = crowd.place(1)
    time.sleep(15)
    assert statuses(shop, order_ids) == {"PENDING": 1}
    shop.control("bank", down=False)

    settle(shop, order_ids)

    assert attempts_spent(shop, order_ids) == {"retry": 2}


def test_f10_payment_methods_that_are_down_are_no_outage(shop: Shop, crowd: Crowd) -> None:
    """Several at once in a quiet shop: each is given up after its attempts, and others are served meanwhile."""
    hopeless = crowd.place(6, payment_method="pm_sim_unavailable")

    settle(shop, crowd.place(6))

    shop.wait_until(lambda: statuses(shop, hopeless) == {"CANCELLED": 6}, seconds=SETTLE_SECONDS)
    assert turned_back(shop, hopeless) == [("payment_unavailable", 6)]
    assert attempts_spent(shop, hopeless)["given_up"] == 6
