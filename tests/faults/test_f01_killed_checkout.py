"""F01: the web process dies around the commit of a checkout. Real processes; the client repeats with the same key."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import httpx
import pytest

from outbox.crash_points import CrashPoints, Side, Target
from tests.running import running_shop
from tests.shop import Customer, Shop

_quantities = count(1)


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> CrashPoints:
    """Return the folder through which a web process is told where to die."""
    return CrashPoints(tmp_path_factory.mktemp("crash-points"))


@pytest.fixture(scope="module")
def shop(points: CrashPoints) -> Iterator[Shop]:
    """Start a shop whose processes can be made to crash; its books must be in order at the end."""
    with running_shop(name="killed_checkout", CRASH_POINTS=str(points._folder)) as shop:
        yield shop
        points.arm(run="over")
        assert shop.audit() == (0, [])


@pytest.fixture(scope="module")
def checkout_commit(shop: Shop, points: CrashPoints) -> str:
    """Learn by an undisturbed checkout what the commit of one is called."""
    points.arm(run="learn")
    customer = shop.customer()
    assert customer.end_of(customer.place({"TEA-MINT": next(_quantities)})) == "CONFIRMED"
    [name] = {e.name for e in points.journal() if e.role == "web" and "orders_order" in e.name}
    assert "outbox_idempotencykey" in name
    assert "outbox_message" in name
    return name


def rows(shop: Shop, key: str) -> tuple[int, int]:
    """Return how many keys and orders there are of this request."""
    [(keys, orders)] = shop.query(
        "SELECT count(*), count(o.id) FROM outbox_idempotencykey k"
        " LEFT JOIN orders_order o ON k.location LIKE '%%' || o.id::text WHERE k.key = %s",
        key,
    )
    return keys, orders


def orders_of(customer: Customer) -> int:
    return len(customer.orders())


def die(customer: Customer, items: dict[str, int], key: str) -> None:
    """Send the checkout; the process that takes it dies, so that no answer comes."""
    with pytest.raises(httpx.TransportError):
        customer.order(items, key=key)


def ask_until_answered(customer: Customer, items: dict[str, int], key: str) -> httpx.Response:
    """Repeat as a client does: until somebody answers other than "later"."""
    for _ in range(20):
        try:
            response = customer.order(items, key=key)
        except httpx.TransportError:
            continue
        if response.status_code not in (409, 503):
            return response
    raise AssertionError("nobody answers")


@pytest.mark.parametrize("attempt", range(2))
def test_f01_killed_before_the_commit_nothing_exists_and_the_retry_makes_one_order(
    shop: Shop, points: CrashPoints, checkout_commit: str, attempt: int
) -> None:
    """No key, no order, no message is left; the same key runs afterwards as if it were the first time."""
    customer, key, items = shop.customer(), f"before-{attempt}", {"TEA-MINT": next(_quantities)}
    points.arm(run=key, targets=[Target(checkout_commit, 1, Side.BEFORE)])

    die(customer, items, key)
    left = rows(shop, key)
    answer = ask_until_answered(customer, items, key)

    assert [e.side for e in points.journal() if e.side] == [Side.BEFORE]
    assert left == (0, 0)
    assert (answer.status_code, answer.headers.get("Idempotency-Replayed")) == (202, None)
    assert customer.end_of(answer.json()["id"]) == "CONFIRMED"
    assert (orders_of(customer), rows(shop, key)) == (1, (1, 1))
    assert [kind for kind, _ in shop.bank(answer.json()["id"])] == ["charge"]


@pytest.mark.parametrize("side", [Side.AFTER, Side.LOST])
def test_f01_killed_after_the_commit_the_retry_gets_the_first_answer_and_the_order_completes(
    shop: Shop, points: CrashPoints, checkout_commit: str, side: Side
) -> None:
    """The order is there though nobody was told, and goes on by itself; the retry makes nothing new.

    The process may also live on and lose the answer to its COMMIT: then the client is told that nobody knows (503).
    """
    customer, key, items = shop.customer(), f"after-{side}", {"TEA-MINT": next(_quantities)}
    points.arm(run=key, targets=[Target(checkout_commit, 1, side)])

    if side is Side.AFTER:
        die(customer, items, key)
    else:
        assert customer.order(items, key=key).status_code == 503
    assert rows(shop, key) == (1, 1)
    [order_id] = customer.orders()
    end = customer.end_of(order_id)
    answer = ask_until_answered(customer, items, key)

    assert [e.side for e in points.journal() if e.side] == [side]
    assert end == "CONFIRMED"
    assert (answer.status_code, answer.headers.get("Idempotency-Replayed")) == (202, "true")
    told: dict[str, Any] = answer.json()
    assert (told["id"], told["status"]) == (order_id, "PENDING")
    assert ask_until_answered(customer, items, key).content == answer.content
    assert orders_of(customer) == 1
    assert [kind for kind, _ in shop.bank(order_id)] == ["charge"]
