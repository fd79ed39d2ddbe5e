"""F21: whoever works on a bulk run is killed, time after time, and every row is done once all the same.

The whole product runs as processes. A bank that gives no money back fills the desk with cases; once it does again, they
are retried in bulk, while the worker's processes and beat are killed with SIGKILL between rows and in the middle of
them.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.outages import SKU
from tests.running import running_shop
from tests.shop import Customer, Shop

CASES = 14
# Turned back at once: the carrier goes nowhere near Antarctica.
REFUSED = {"country": "AQ"}
START = """
from django.contrib.auth.models import User
from desk.bulk import services
from sagas.models import Case
User.objects.create(username="grace", is_staff=True, is_superuser=True)
chosen = list(Case.objects.filter(status="OPEN").order_by("pk").values_list("pk", flat=True))
run = services.freeze(case_ids=chosen, action="retry", operator="grace")
services.start(run_id=run.pk, operator="grace", reason="the bank is back", per_second=4, goes_on=True)
"""


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """Start a shop."""
    with running_shop(name="bulk_killed", RELAY_LEASE_SECONDS="2") as shop:
        yield shop


def fill_the_desk(shop: Shop) -> tuple[Customer, list[str]]:
    """Let refunds of so many orders be refused for good."""
    shop.control("bank", refund_refuse_ratio=1.0)
    customer = shop.customer()
    # Of different size: the same order twice is refused.
    orders = [customer.place({SKU: number}, **REFUSED) for number in range(1, CASES + 1)]
    shop.wait_until(lambda: shop.query("SELECT count(*) FROM sagas_case WHERE status = 'OPEN'") == [(CASES,)])
    shop.control("bank", refund_refuse_ratio=0.0)
    return customer, orders


def had_their_turn(shop: Shop) -> int:
    """Return how many rows are done, or asked for."""
    return int(shop.query("SELECT count(*) FROM desk_bulkrow WHERE status <> 'WAITING'")[0][0])


def test_f21_a_bulk_run_whose_workers_are_killed_does_every_row_once(shop: Shop) -> None:
    customer, orders = fill_the_desk(shop)
    begun = shop.manage("shell", "-v0", "-c", START)
    assert begun.returncode == 0, begun.stderr

    for done, kill, whom in (
        (1, shop.kill_child, "sweeps"),
        (3, shop.kill, "sweeps"),
        (5, shop.kill, "beat"),
        (7, shop.kill_child, "sweeps"),
        (9, shop.kill, "sweeps"),
    ):
        shop.wait_until(lambda done=done: had_their_turn(shop) >= done)  # type: ignore[misc]
        kill(whom)
    shop.wait_until(lambda: shop.query("SELECT phase FROM desk_bulkrun") == [("DONE",)])
    settled = "SELECT status, count(*) FROM desk_bulkrow GROUP BY status"
    shop.wait_until(lambda: shop.query(settled) == [("DONE", CASES)])

    assert shop.query("SELECT count(*) FROM desk_bulkrow WHERE is_held") == [(0,)]
    lines = shop.query("SELECT action, count(*) FROM sagas_operatoraction GROUP BY action ORDER BY action")
    assert lines == [("bulk retry: end", 1), ("bulk retry: start", 1), ("retry", CASES)]
    retried = "SELECT count(DISTINCT case_id) FROM sagas_operatoraction WHERE action = 'retry'"
    assert shop.query(retried) == [(CASES,)]
    for order in orders:
        assert customer.end_of(order) == "CANCELLED shipping_refused"
        assert sorted(kind for kind, _ in shop.bank(order)) == ["charge", "refund"]
    assert shop.audit() == (0, [])
