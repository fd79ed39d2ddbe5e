"""F02, seen by the audit: while orders flow and workers are killed it tells what is in flight from what is wrong."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from config.local.folder import PROJECT
from tests.running import running_shop
from tests.shop import Shop

SECONDS = 25
SEED = 2
# One process that looks again and again, at everything and at the last minutes in turn, until its input ends.
WATCHER = """
import json, sys, threading, django
django.setup()
from dataclasses import asdict
from datetime import timedelta
from django.utils import timezone
from config.audit import audit
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
looks = 0
while not over.is_set():
    report = audit(since=timezone.now() - timedelta(minutes=5) if looks % 2 else None)
    looks += 1
    print(json.dumps([report.judged, [asdict(finding) for finding in report.findings]]), flush=True)
    over.wait(1)
"""
MIX: tuple[dict[str, str], ...] = (
    {},
    {},
    {},
    {"payment_method": "pm_card_visa_chargeDeclined"},
    {"payment_method": "pm_sim_timeout_charged"},
    {"payment_method": "pm_sim_timeout_not_charged"},
    {"country": "AQ"},
)


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """A running shop whose leases and calls are short, so that what a killed worker held comes back soon."""
    with running_shop(name="f02_audit", RELAY_LEASE_SECONDS="1", GATEWAY_TIMEOUT_SECONDS="0.5") as running:
        yield running


@contextmanager
def traffic(shop: Shop) -> Iterator[list[str]]:
    """Let customers order, and cancel some of it, as long as the block runs; yields the ids of what was placed."""
    over, placed = threading.Event(), []

    def shopping(number: int) -> None:
        customer, draw, many = shop.customer(), random.Random(SEED + number), 0
        while not over.is_set():
            many += 1
            try:
                order_id = customer.place({"TEA-GREEN": 1 + many % 9_000}, **draw.choice(MIX))
                placed.append(order_id)
                if draw.random() < 0.2:
                    customer.post(f"/api/v1/orders/{order_id}/cancel")
            except httpx.HTTPError:
                continue
            time.sleep(0.05)

    threads = [threading.Thread(target=shopping, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield placed
    finally:
        over.set()
        for thread in threads:
            thread.join()


def is_quiet(shop: Shop) -> bool:
    """Tell whether all sagas have ended."""
    live = "SELECT count(*) FROM sagas_sagainstance WHERE status IN ('RUNNING', 'COMPENSATING')"
    return shop.query(live) == [(0,)] and shop.query("SELECT count(*) FROM outbox_delivery") == [(0,)]


def test_f02_the_audit_of_a_shop_under_fire_has_no_false_alarm(shop: Shop) -> None:
    """A look a second for as long as it burns, and one when all is quiet: nothing is found, and much is judged."""
    draw = random.Random(SEED)
    watcher = subprocess.Popen(
        [sys.executable, "-c", WATCHER],
        env=dict(shop.environment),
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with traffic(shop) as placed:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            shop.kill(draw.choice(["relay", "effects", "compensations", "sweeps"]))
            pause = time.monotonic() + 2
            while time.monotonic() < pause:
                shop.tend()
                time.sleep(0.1)
    shop.wait_until(lambda: is_quiet(shop), seconds=180)
    told, errors = watcher.communicate(timeout=120)

    looks = [json.loads(line) for line in told.splitlines()]
    assert watcher.returncode == 0, errors
    assert len(placed) > 50
    assert len(looks) > 5
    assert [findings for _, findings in looks if findings] == []
    assert looks[-1][0] > 50
    assert shop.audit() == (0, [])
