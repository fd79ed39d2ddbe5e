"""The scenarios of the sweep: what a customer does, and how it must end, wherever a process dies meanwhile.

To sweep a saga of your own, add a row to the table at the end and a file beside this one that sweeps it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import psycopg

from tests.shop import ADDRESS, PATIENCE_SECONDS, Customer, Shop

# A customer's program asks again after this pause, with the same key.
_PAUSE_SECONDS = 0.05
_POLL_SECONDS = 0.03
_ASK_AGAIN = {429, 502, 503, 504}

_STANDING = """
SELECT o.status, o.reason,
       EXISTS (SELECT FROM outbox_delivery d WHERE d.ordering_key = o.id)
       OR EXISTS (SELECT FROM sagas_sagainstance s
                  WHERE s.key = o.id AND s.status NOT IN ('COMPLETED', 'COMPENSATED', 'ABANDONED'))
FROM orders_order o WHERE o.id = %s
"""
_CHARGING = """
SELECT FROM outbox_barrier b JOIN sagas_sagainstance s ON s.id = b.saga_id
WHERE s.key = %s AND b.step = 'charge-payment' AND b.direction = 'action'
"""
_REFUNDED = "SELECT FROM payments_refund WHERE order_id = %s"


@dataclass
class Visit:
    """One order of one customer, from the first click to its end."""

    shop: Shop
    database: psycopg.Connection[Any]
    customer: Customer
    rest: Callable[[], None]
    order_id: str = ""
    settling_seconds: float = PATIENCE_SECONDS
    asked: int = field(default=0, init=False)

    def order(self, *, payment_method: str = "pm_card_visa", country: str = "DE") -> None:
        """Check out."""
        body = {
            "items": [{"sku": "TEA-GREEN", "quantity": 1}, {"sku": "MUG-BLUE", "quantity": 2}],
            "payment_method": payment_method,
            "shipping_address": ADDRESS | {"country": country},
        }
        answer = self.ask("/api/v1/orders", body)
        assert answer.status_code == 202, answer.text
        self.order_id = answer.json()["id"]

    def wish(self, what: str) -> httpx.Response:
        """Ask for the order's `cancel` or `returns`."""
        return self.ask(f"/api/v1/orders/{self.order_id}/{what}", None)

    def ask(self, path: str, body: object) -> httpx.Response:
        """Send a request until it is answered, always with the same key: that is what the key is for."""
        key = str(uuid.uuid4())
        limit = time.monotonic() + self.settling_seconds
        while True:
            assert time.monotonic() < limit, f"{path} is not answered"
            self.asked += 1
            try:
                answer = self.customer.post(path, body, key=key)
            except httpx.TransportError:
                pass
            else:
                in_flight = answer.status_code == 409 and answer.json()["code"] == "idempotency-key-in-flight"
                if answer.status_code not in _ASK_AGAIN and not in_flight:
                    return answer
            self.shop.tend()
            time.sleep(_PAUSE_SECONDS)

    def settle(self) -> str:
        """Wait until nothing is left to do for the order; return its end."""
        limit = time.monotonic() + self.settling_seconds
        while True:
            status, reason, is_busy = self._standing()
            end = f"{status} {reason}".strip()
            if not is_busy and status in {"CONFIRMED", "CANCELLED", "RETURNED"}:
                return end
            if time.monotonic() > limit:
                return f"not settled: {end}"
            self.shop.tend()
            time.sleep(_POLL_SECONDS)

    def wait_for_charge(self) -> None:
        """Wait until the bank is being asked for the money."""
        self.shop.wait_until(lambda: self.database.execute(_CHARGING, [self.order_id]).fetchone() is not None)

    def wait_for_refund(self) -> None:
        """Wait until what the bank has given back is written down."""
        self.shop.wait_until(lambda: self.database.execute(_REFUNDED, [self.order_id]).fetchone() is not None)

    def _standing(self) -> tuple[str, str, bool]:
        row = self.database.execute(_STANDING, [self.order_id]).fetchone()
        assert row is not None, f"order {self.order_id} was answered and does not exist"
        status, reason, is_busy = row
        return status, reason, is_busy


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What happens before the crash, what happens under it, and how the order must end.

    `act` returns the end that the answer it got promises. `prepare` calls `visit.rest()` where relays may fall asleep
    before the crash: only then are they sent for.
    """

    name: str
    end: str
    act: Callable[[Visit], str]
    prepare: Callable[[Visit], None] = lambda visit: visit.rest()


def _fulfil(visit: Visit) -> str:
    visit.order()
    return "CONFIRMED"


def _turn_back(visit: Visit) -> str:
    visit.order(country="AQ")
    return "CANCELLED shipping_refused"


def _await_charge(visit: Visit) -> None:
    visit.rest()
    visit.order(payment_method="pm_sim_timeout_not_charged")
    visit.wait_for_charge()


def _cancel(visit: Visit) -> str:
    answer = visit.wish("cancel")
    if answer.status_code == 202:
        return "CANCELLED cancelled_by_customer"
    # Asked again after a crash, it came too late, and the customer was told so.
    assert (answer.status_code, answer.json()["code"]) == (409, "not-cancellable"), answer.text
    return "CONFIRMED"


def _cancel_while_the_charge_is_lost(visit: Visit) -> None:
    visit.shop.control("bank", hold=True)
    visit.order()
    visit.wait_for_charge()
    assert visit.wish("cancel").status_code == 202
    assert visit.settle() == "CANCELLED cancelled_by_customer"
    visit.rest()


def _let_the_charge_arrive(visit: Visit) -> str:
    visit.shop.control("bank", hold=False)
    visit.wait_for_refund()
    return "CANCELLED cancelled_by_customer"


def _buy(visit: Visit) -> None:
    visit.order()
    assert visit.settle() == "CONFIRMED"
    visit.rest()


def _return(visit: Visit) -> str:
    answer = visit.wish("returns")
    assert answer.status_code == 202, answer.text
    return "RETURNED"


FULFILMENT = Scenario(name="fulfilment", act=_fulfil, end="CONFIRMED")
TURN_BACK = Scenario(name="turn-back", act=_turn_back, end="CANCELLED shipping_refused")
CANCEL = Scenario(name="cancel", prepare=_await_charge, act=_cancel, end="CANCELLED cancelled_by_customer")
LATE_CHARGE = Scenario(
    name="late charge",
    prepare=_cancel_while_the_charge_is_lost,
    act=_let_the_charge_arrive,
    end="CANCELLED cancelled_by_customer",
)
RETURN = Scenario(name="return", prepare=_buy, act=_return, end="RETURNED")
