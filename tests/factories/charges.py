"""Charges on their way to the simulated bank, through the real outbox: asked for, held back, undone, late."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import httpx
from django.db.models import F
from uuid_utils.compat import uuid7

from outbox.contracts import COMPENSATION
from payments.contracts import ChargePayment, RefundPayment
from payments.models import Payment
from tests.integration.simulator.process import Simulator
from tests.messaging import drain, make_due, say

STEP = "charge-payment"
# Long enough for a released call to be carried out.
_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class Charge:
    """One charge of 12.34 EUR as a saga asks for it."""

    order_id: UUID
    saga_id: UUID

    @property
    def key(self) -> str:
        """The key that the bank knows it by."""
        return f"{self.order_id}-{self.saga_id}-{STEP}"

    @property
    def refund_key(self) -> str:
        """The key of the refund that undoes it."""
        return f"{self.key}-compensation"

    @property
    def order(self) -> str:
        """The order's id as the ledger writes it."""
        return str(self.order_id)


def ask(*, method: str = "pm_card_visa", order_id: UUID | None = None) -> Charge:
    """Give the command; nothing is delivered yet."""
    charge = Charge(order_id or uuid7(), uuid7())
    command = ChargePayment(order_id=charge.order_id, amount=1234, currency="EUR", payment_method=method)
    say(command, key=charge.order_id, saga_id=charge.saga_id, step=STEP)
    return charge


def charged(*, method: str = "pm_card_visa") -> Charge:
    """Let a charge succeed and be recorded."""
    charge = ask(method=method)
    drain()
    return charge


def undo(charge: Charge) -> None:
    """Let the saga turn back: the compensation runs to its end."""
    command = RefundPayment(order_id=charge.order_id, amount=1234, currency="EUR")
    say(command, key=charge.order_id, saga_id=charge.saga_id, step=STEP, direction=COMPENSATION)
    # Whatever got no answer is lost by now, as far as anybody can tell.
    Payment.objects.filter(status="unknown").update(updated_at=F("updated_at") - timedelta(hours=1))
    make_due()
    drain()


def undone_before_it_arrived(bank: Simulator, *, method: str = "pm_card_visa") -> Charge:
    """Hold a charge back at the bank until its saga has turned back; it is still held."""
    bank.control("bank", hold=True)
    charge = ask(method=method)
    drain()
    undo(charge)
    return charge


def release(bank: Simulator, charge: Charge) -> None:
    """Let the bank carry out what it held back."""
    bank.control("bank", hold=False)
    limit = time.monotonic() + _PATIENCE_SECONDS
    while not bank.kinds("bank", charge.order):
        assert time.monotonic() < limit
        time.sleep(0.02)


def foreign_charge(bank: Simulator, *, order: str, key: str, amount: int = 1234) -> httpx.Response:
    """Charge an order at the bank without being asked by anything of ours."""
    return bank.charge(key, order_id=order, amount=amount)
