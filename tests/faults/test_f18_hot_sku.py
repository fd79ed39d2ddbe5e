"""F18: everybody wants the same thing. 200 orders at once for the last 50 pieces; real processes, over HTTP."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.conftest import FIGURES
from tests.running import running_shop
from tests.shop import Customer, Shop

SKU = "LAST-FIFTY"
PIECES = 50
ORDERS = 200
# So many wait at the same moment for the answer to their checkout.
BROWSERS = 40
SETTLE_SECONDS = 180.0


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """Start a shop with a customer for each order; its books must be in order at the end."""
    with running_shop(name="hot_sku", customers=ORDERS + 1) as shop:
        yield shop
        assert shop.audit() == (0, [])


def test_f18_the_last_fifty_pieces_go_to_exactly_fifty_of_two_hundred_orders(
    shop: Shop, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Nobody sees an error: each order is accepted, and is then confirmed or cancelled as out of stock.

    Only the winners are charged, and the shelf is empty, never below.
    """
    catalogue = tmp_path / "catalogue.csv"
    catalogue.write_text(f"sku,name,price,currency,stock\n{SKU},The last fifty,10.00,EUR,{PIECES}\n")
    assert shop.manage("load_catalogue", str(catalogue)).returncode == 0
    customers = [shop.customer() for _ in range(ORDERS)]

    def order(customer: Customer) -> tuple[int, str]:
        response = customer.order({SKU: 1})
        return response.status_code, response.json().get("id", "")

    with ThreadPoolExecutor(BROWSERS) as browsers:
        answers = list(browsers.map(order, customers))
    wanted = [order_id for _, order_id in answers]
    ends: Counter[str] = Counter()

    def are_settled() -> bool:
        rows = shop.query(
            "SELECT trim(status || ' ' || reason), count(*) FROM orders_order WHERE id::text = ANY(%s) GROUP BY 1",
            wanted,
        )
        ends.clear()
        ends.update({end: int(number) for end, number in rows})
        return ends["PENDING"] + sum(number for end, number in ends.items() if end.startswith("CANCELLING")) == 0

    assert Counter(status for status, _ in answers) == {202: ORDERS}
    shop.wait_until(are_settled, seconds=SETTLE_SECONDS)
    record_property(FIGURES, f"{ORDERS} orders for {PIECES} pieces: {dict(ends)}")
    assert ends == {"CONFIRMED": PIECES, "CANCELLED out_of_stock": ORDERS - PIECES}
    assert shop.available(SKU) == 0
    [(on_hand, sold)] = shop.query(
        "SELECT (SELECT on_hand FROM inventory_stock WHERE sku = %s),"
        " (SELECT count(*) FROM outbox_message WHERE type = 'payment.charged')",
        SKU,
    )
    assert (on_hand, sold) == (0, PIECES)
