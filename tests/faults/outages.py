"""What the tests of outages share: customers who insist, answers that may be given, and whether beat is heard."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx

from tests.shop import Customer, Shop

SKU = "TEA-MINT"
PATIENCE_SECONDS = 90.0


class Wish:
    """An order that one customer wants, sent under one key until it is accepted."""

    def __init__(self, customer: Customer) -> None:
        self.customer = customer
        self.key = str(uuid.uuid4())
        self.answers: list[httpx.Response] = []
        self.order_id = ""

    def send(self) -> httpx.Response:
        """Send it once; return the answer."""
        answer = self.customer.order({SKU: 1}, key=self.key)
        self.answers.append(answer)
        if answer.is_success:
            self.order_id = answer.json()["id"]
        return answer

    def insist(self) -> None:
        """Send it until it is accepted; who gets no answer at all asks again, too."""
        while not self.order_id:
            with suppress(httpx.TransportError):
                self.send()
            time.sleep(0.2)

    def assert_fulfilled(self) -> None:
        """Fail unless it was answered well each time and has become one order, confirmed."""
        assert [answer.text for answer in self.answers[:-1] if not is_refused_well(answer)] == []
        assert self.customer.end_of(self.order_id) == "CONFIRMED"
        assert self.customer.orders() == [self.order_id]


@contextmanager
def insisting(shop: Shop, *, number: int = 6) -> Iterator[list[Wish]]:
    """Let so many customers insist on an order each during the block, and beyond until all have it."""
    wishes = [Wish(shop.customer()) for _ in range(number)]
    threads = [threading.Thread(target=wish.insist, daemon=True) for wish in wishes]
    for thread in threads:
        thread.start()
    yield wishes
    limit = time.monotonic() + PATIENCE_SECONDS
    for thread in threads:
        thread.join(timeout=max(0.0, limit - time.monotonic()))
        assert not thread.is_alive(), "an order is still refused"


def is_refused_well(answer: httpx.Response) -> bool:
    """Tell whether this is how the API says that it cannot just now; 409 is for a key whose first request runs."""
    return (
        answer.headers["Content-Type"] == "application/problem+json"
        and int(answer.headers["Retry-After"]) > 0
        and (answer.status_code, answer.json()["code"])
        in {(503, "service-unavailable"), (409, "idempotency-key-in-flight")}
    )


def wait_for_beat(shop: Shop) -> None:
    """Return once a sweep that only beat rings for has run again."""
    asked = (
        "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements "
        "WHERE query LIKE '%%pg_prepared_xacts%%' AND query NOT LIKE '%%pg_stat_statements%%'"
    )
    [(before,)] = shop.query(asked)
    shop.wait_until(lambda: shop.query(asked) > [(before,)])
