"""A confirmed order comes back: refund the money, put the goods into stock, tell the customer.

The refund is the point of no return. When the bank refuses it for good a person decides; nothing is restocked
before the customer has the money.
"""

from __future__ import annotations

from uuid import UUID

import msgspec

import inventory.contracts as inventory
import orders.contracts as orders
import payments.contracts as payments
from sagas.definition import SagaDefinition, Step


class OrderReturnData(msgspec.Struct, frozen=True, kw_only=True):
    """What the steps need of a returned order."""

    order_id: UUID
    amount: int
    currency: str


ORDER_RETURN = SagaDefinition(
    name="order-return",
    version=1,
    data=OrderReturnData,
    started_by=orders.OrderReturnRequested,
    steps=(
        Step("refund-payment", action=payments.RefundPayment, pivot=True),
        Step("restock-inventory", action=inventory.ReleaseInventory),
        Step("notify-customer", action=orders.ReturnOrder),
    ),
)
