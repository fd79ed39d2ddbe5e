"""Trouble that the product itself turns into cases: what bank and carrier are made to do, and to which orders."""

from __future__ import annotations

from collections.abc import Sequence

from tests.shop import Customer, Shop

REFUSED, UNANSWERED = "RefundRefused", "DeadlinePassed"
# The carrier takes nothing there, so that the order turns back and its money must be given back.
NOWHERE = "AQ"
# A refund is tried five times, with growing rests in between.
GIVEN_UP_SECONDS = 180.0
TEAS = ("TEA-GREEN", "TEA-BLACK", "TEA-MINT")


def refuse_refunds(
    shop: Shop, *, orders: int, for_good: Sequence[dict[str, int]] = (), whose: Customer | None = None
) -> list[str]:
    """Let the bank refuse the refunds of that many orders; return their ids once each has a case.

    Those of `for_good` come last, ordered by `whose`: the bank refuses them whatever it is told later.
    """
    shop.control("bank", refund_refuse_ratio=1)
    placed = [_place(shop, {TEAS[n % 3]: 1 + n // 3 % 3}) for n in range(orders)]
    wait_for_cases(shop, placed)
    unlucky = whose or shop.customer()
    placed += [unlucky.place(items, country=NOWHERE, payment_method="pm_sim_refund_refused") for items in for_good]
    wait_for_cases(shop, placed)
    return placed


def lose_the_bank(shop: Shop, *, orders: int) -> list[str]:
    """Take the bank away between the charges and the refunds of that many orders; return their ids, each with a case.

    For that the carrier is away first: parcels that it refuses are refused only when the money is taken.
    """
    shop.control("carrier", down=True)
    placed = [_place(shop, {TEAS[n % 3]: 4 + n // 3}) for n in range(orders)]
    charged = "SELECT count(*) FROM payments_payment WHERE status = 'charged' AND order_id = ANY(%s::uuid[])"
    shop.wait_until(lambda: shop.query(charged, placed) == [(orders,)])
    shop.control("bank", down=True)
    shop.control("carrier", down=False)
    wait_for_cases(shop, placed)
    return placed


def bring_the_bank_back(shop: Shop) -> None:
    """Let the bank answer again, and refund again what it does not refuse for good."""
    shop.control("bank", down=False, refund_refuse_ratio=0)


def wait_for_cases(shop: Shop, order_ids: Sequence[str]) -> None:
    """Wait until every one of these orders has an open case."""
    shop.wait_until(lambda: len(open_cases(shop, order_ids)) == len(order_ids), seconds=GIVEN_UP_SECONDS)


def open_cases(shop: Shop, order_ids: Sequence[str]) -> dict[str, int]:
    """Return the open case of each of these orders that has one, by order."""
    return dict(
        shop.query(
            "SELECT key::text, id FROM sagas_case WHERE status = 'OPEN' AND key = ANY(%s::uuid[])", list(order_ids)
        )
    )


def _place(shop: Shop, items: dict[str, int]) -> str:
    return shop.customer().place(items, country=NOWHERE)
