"""From checkout to confirmed: reserve, charge, ship, confirm; undone in reverse when one of them fails."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import msgspec

import inventory.contracts as inventory
import orders.contracts as orders
import payments.contracts as payments
import shipping.contracts as shipping
from sagas.definition import SagaDefinition, Step


class OrderFulfilmentData(msgspec.Struct, frozen=True, kw_only=True):
    """What the steps need of an order."""

    order_id: UUID
    lines: tuple[orders.Line, ...]
    amount: int
    currency: str
    payment_method: str
    address: orders.Address


ORDER_FULFILMENT = SagaDefinition(
    name="order-fulfilment",
    version=1,
    data=OrderFulfilmentData,
    started_by=orders.OrderCreated,
    steps=(
        Step("reserve-inventory", action=inventory.ReserveInventory, compensation=inventory.ReleaseInventory),
        Step(
            "charge-payment",
            action=payments.ChargePayment,
            compensation=payments.RefundPayment,
            deadline=timedelta(minutes=5),
        ),
        Step("create-shipment", action=shipping.CreateShipment, compensation=shipping.CancelShipment),
        Step("confirm-order", action=orders.ConfirmOrder, pivot=True),
    ),
    cancelled_by=orders.OrderCancelRequested,
    on_compensated=orders.CancelOrder,
)
