"""F12: the database restarts, throws everybody out, is away for ten seconds, or says nothing any more.

Customers are told to come back, and who comes back with the same key gets one order. No process needs a restart.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from outbox.crash_points import CrashPoints, Side, Target
from tests.faults.outages import SKU, Wish, insisting, is_refused_well, wait_for_beat
from tests.running import running_shop
from tests.shop import Shop

# A failover takes this long.
AWAY_SECONDS = 10.0
END_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> ALL(%s) AND backend_type = 'client backend'
"""
# A client's own patience: the product has to answer before.
ANSWER_SECONDS = 15.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the processes note their commits, any of which may lose its answer."""
    return tmp_path_factory.mktemp("crash-points")


@pytest.fixture(scope="module")
def shop(folder: Path) -> Iterator[Shop]:
    """Start a shop on servers of its own, behind a network."""
    with running_shop(
        name="database_away",
        customers=80,
        own_servers=True,
        has_network=True,
        RELAY_LEASE_SECONDS="2",
        DATABASE_STATEMENT_SECONDS="3",
        DATABASE_SILENCE_SECONDS="1",
        CRASH_POINTS=str(folder),
    ) as shop:
        yield shop
        assert shop.audit() == (0, [])


def ready(shop: Shop) -> int:
    """Return the status of the readiness page."""
    return shop.http.get("/readyz").status_code


@pytest.fixture(autouse=True)
def nobody_restarted(shop: Shop) -> Iterator[None]:
    """Fail when a process of the product had to be started again."""
    before = shop.pids
    yield
    shop.wait_until(lambda: ready(shop) == 200)
    wait_for_beat(shop)
    assert shop.tend() == []
    assert {**shop.pids, "postgres": 0} == {**before, "postgres": 0}


def end_database(shop: Shop) -> None:
    """Let the server stop at once, as if its machine had."""
    os.kill(shop.pids["postgres"], signal.SIGQUIT)


def wait_until_away(shop: Shop) -> None:
    """Return once the web server has noticed; starts nothing again."""
    limit = time.monotonic() + AWAY_SECONDS / 2
    while ready(shop) == 200:
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_f12_database_restarted_under_orders(shop: Shop) -> None:
    """Those who are refused come back and get one order each; what was in flight goes on."""
    with insisting(shop) as wishes:
        end_database(shop)
        shop.wait_until(lambda: ready(shop) == 200)

    for wish in wishes:
        wish.assert_fulfilled()


def test_f12_all_backends_terminated(shop: Shop) -> None:
    """Every connection breaks again and again, in whatever it was doing."""
    url = shop.environment["DATABASE_URL"]
    with insisting(shop, number=8) as wishes, psycopg.connect(url, autocommit=True) as operator:
        for _ in range(10):
            operator.execute(END_OTHERS, [[operator.info.backend_pid]])
            time.sleep(0.1)

    for wish in wishes:
        wish.assert_fulfilled()


def test_f12_failover_of_ten_seconds(shop: Shop) -> None:
    """Every page says 503 with Retry-After at once, readiness too; orders of before and during it end well."""
    customer = shop.customer()
    before = [customer.place({SKU: number}) for number in range(1, 6)]
    end_database(shop)
    began = time.monotonic()
    with insisting(shop) as wishes:
        wait_until_away(shop)
        answers = pages(shop, order_id=before[0])
        answered = time.monotonic() - began
        assert [(name, answer.text) for name, answer in answers.items() if not is_refused_well(answer)] == []
        assert (ready(shop), shop.http.get("/healthz").status_code) == (503, 200)
        time.sleep(max(0.0, began + AWAY_SECONDS - time.monotonic()))
        shop.wait_until(lambda: ready(shop) == 200)

    assert answered < AWAY_SECONDS
    for wish in wishes:
        wish.assert_fulfilled()
    assert [customer.end_of(order_id) for order_id in before] == ["CONFIRMED"] * 5


def pages(shop: Shop, *, order_id: str) -> dict[str, httpx.Response]:
    """Ask every kind of page."""
    customer = shop.customer()
    return {
        "checkout": customer.order({SKU: 1}),
        "cancel": customer.post(f"/api/v1/orders/{order_id}/cancel"),
        "return": customer.post(f"/api/v1/orders/{order_id}/returns"),
        "orders": customer.ask("/api/v1/orders"),
        "order": customer.ask(f"/api/v1/orders/{order_id}"),
        "timeline": customer.ask(f"/api/v1/orders/{order_id}/timeline"),
        "products": customer.ask("/api/v1/products"),
        "admin": shop.http.get("/admin/", headers={"Cookie": f"sessionid={'a' * 32}"}),
    }


def test_f24_no_connection_is_to_be_had(shop: Shop) -> None:
    """Somebody has taken all of them: 503 at once instead of a wait, and orders as soon as there are some again."""
    url = shop.environment["DATABASE_URL"]
    taken: list[psycopg.Connection[tuple[object, ...]]] = []
    with insisting(shop) as wishes:
        try:
            take_all(url, taken)
            began = time.monotonic()
            answer = Wish(shop.customer()).send()
            answered = time.monotonic() - began
        finally:
            for one in taken:
                one.close()

    assert is_refused_well(answer)
    assert answered < ANSWER_SECONDS
    for wish in wishes:
        wish.assert_fulfilled()


def take_all(url: str, taken: list[psycopg.Connection[tuple[object, ...]]]) -> None:
    """Open connections, and throw out whoever has one, until the server has no more to give."""
    while True:
        try:
            taken.append(psycopg.connect(url, autocommit=True))
        except psycopg.OperationalError:
            return
        taken[0].execute(END_OTHERS, [[one.info.backend_pid for one in taken]])


def test_f12_a_database_that_says_nothing_is_away_too(shop: Shop) -> None:
    """The connections stay open and nothing comes: nobody waits for ever, neither customers nor workers."""
    with insisting(shop) as wishes:
        shop.link("database", silent=True)
        began = time.monotonic()
        answer = Wish(shop.customer()).send()
        answered = time.monotonic() - began
        shop.link("database", silent=False)

    assert is_refused_well(answer)
    assert answered < ANSWER_SECONDS
    for wish in wishes:
        wish.assert_fulfilled()


def test_f12_a_connection_that_is_cut_is_opened_anew(shop: Shop) -> None:
    """The network resets everything, several times; each order comes to its end."""
    with insisting(shop) as wishes:
        for _ in range(10):
            shop.link("database")
            time.sleep(0.1)

    for wish in wishes:
        wish.assert_fulfilled()


def test_f12_the_answer_to_the_commit_is_lost(shop: Shop, folder: Path) -> None:
    """The order is there and the client does not know; with the same key it is told so."""
    points = CrashPoints(folder)
    points.arm(run="learn")
    shop.customer().place({SKU: 1})
    [commit] = [entry.name for entry in points.journal() if entry.role == "web" and "orders_order" in entry.name]
    points.arm(run="lose", targets=[Target(commit, 1, Side.LOST)])
    wish = Wish(shop.customer())

    first = wish.send()
    wish.insist()

    assert (is_refused_well(first), first.status_code) == (True, 503)
    assert wish.answers[-1].headers["Idempotency-Replayed"] == "true"
    points.arm(run="nothing crashes")
    wish.assert_fulfilled()
