"""F13 and F14: the broker is emptied, stopped, restarted or silent; beat is stopped, or there are two.

A checkout is accepted quickly all the time, and work goes on within seconds: nobody needs to be rung for long.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import redis

from config.local.folder import PROJECT
from tests.faults.outages import SKU, wait_for_beat
from tests.running import running_shop
from tests.shop import Customer, Shop

# A ring that cannot be sent must not be felt. The machine of a test is slow; seconds would be the retries of a client.
FELT_SECONDS = 3.0


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """Start a shop on servers of its own, behind a network."""
    with running_shop(name="broker_away", own_servers=True, has_network=True, RELAY_LEASE_SECONDS="2") as shop:
        warm_up(shop)
        yield shop
        assert shop.audit() == (0, [])


def warm_up(shop: Shop) -> None:
    """Let an order come to its end: each lane has been rung by then."""
    customer = shop.customer()
    assert customer.end_of(customer.place({SKU: 1})) == "CONFIRMED"


def timed_order(customer: Customer, quantity: int) -> tuple[str, float]:
    """Place an order; return its id and how long the answer took."""
    began = time.monotonic()
    order_id = customer.place({SKU: quantity})
    return order_id, time.monotonic() - began


def place_five(shop: Shop) -> tuple[Customer, list[str]]:
    """Place five orders, none of which may be held up."""
    customer = shop.customer()
    placed = [timed_order(customer, quantity) for quantity in range(1, 6)]
    assert sorted(seconds for _, seconds in placed)[2] < FELT_SECONDS
    return customer, [order_id for order_id, _ in placed]


def assert_all_confirmed(customer: Customer, order_ids: list[str]) -> None:
    """Fail unless each order comes to its end, and no other is there."""
    assert [customer.end_of(order_id) for order_id in order_ids] == ["CONFIRMED"] * len(order_ids)
    assert sorted(customer.orders()) == sorted(order_ids)


def status_without_help(shop: Shop, customer: Customer, order_ids: list[str]) -> set[str]:
    """Wait for the ends of orders and start nothing again meanwhile."""
    limit = time.monotonic() + 60
    while (found := {customer.status_of(order_id) for order_id in order_ids}) != {"CONFIRMED"}:
        if time.monotonic() > limit:
            break
        time.sleep(0.2)
    return found


def test_f13_broker_emptied(shop: Shop) -> None:
    """All rings are gone, those on their way too."""
    with redis.Redis.from_url(shop.environment["REDIS_URL"]) as broker:
        customer = shop.customer()
        order_ids = []
        for quantity in range(1, 6):
            order_ids.append(customer.place({SKU: quantity}))
            broker.flushall()

    assert_all_confirmed(customer, order_ids)


def test_f13_broker_away(shop: Shop) -> None:
    """Orders are accepted at once and carried out all the same; when it is back its workers listen again."""
    before = {role: pid for role, pid in shop.pids.items() if role != "valkey"}
    shop.kill("valkey")

    customer, order_ids = place_five(shop)
    assert shop.http.get("/readyz").status_code == 200
    assert status_without_help(shop, customer, order_ids) == {"CONFIRMED"}

    assert_all_confirmed(customer, order_ids)
    wait_for_beat(shop)
    assert_all_confirmed(*place_five(shop))
    assert {role: pid for role, pid in shop.pids.items() if role != "valkey"} == before


def test_f13_broker_that_says_nothing(shop: Shop) -> None:
    """Connections stay open and nothing comes: a checkout does not wait for it, and work goes on."""
    shop.link("broker", silent=True)
    customer, order_ids = place_five(shop)
    found = status_without_help(shop, customer, order_ids)
    shop.link("broker", silent=False)

    assert found == {"CONFIRMED"}
    wait_for_beat(shop)
    assert_all_confirmed(*place_five(shop))


def test_f14_beat_stopped(shop: Shop) -> None:
    """Orders go on, retries included; the sweeps go on when it is back."""
    customer = shop.customer()
    os.kill(shop.pids["beat"], signal.SIGSTOP)
    try:
        order_id = customer.place({SKU: 1}, payment_method="pm_sim_timeout_not_charged")
        assert status_without_help(shop, customer, [order_id]) == {"CONFIRMED"}
    finally:
        os.kill(shop.pids["beat"], signal.SIGCONT)

    wait_for_beat(shop)
    assert [kind for kind, _ in shop.bank(order_id)] == ["charge"]


def test_f14_two_beats(shop: Shop) -> None:
    """Every ring and every sweep comes twice; nothing is done twice."""
    command = [sys.executable, "-m", "celery", "-Aconfig", "beat", "--pidfile=", "--loglevel=ERROR"]
    second = subprocess.Popen(command, env={**shop.environment, "ROLE": "beat"}, cwd=PROJECT)
    try:
        customer = shop.customer()
        order_ids = [customer.place({SKU: quantity}) for quantity in range(1, 11)]
        assert_all_confirmed(customer, order_ids)
        assert second.poll() is None
    finally:
        second.kill()
        second.wait()

    assert [[kind for kind, _ in shop.bank(order_id)] for order_id in order_ids] == [["charge"]] * 10
    assert [shop.carrier(order_id) for order_id in order_ids] == [["shipment"]] * 10
