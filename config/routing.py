"""The routing table: which context wants which message. Adding a consumer to an event is one word here.

The saga engine wants whatever starts, answers or turns a saga; that column follows from the definitions.
"""

from __future__ import annotations

from collections import defaultdict

import inventory.contracts as inventory
import orders.contracts as orders
import payments.contracts as payments
import shipping.contracts as shipping
from outbox.contracts import Message, MessageDeadLettered
from outbox.publishing import Routing
from sagas.definition import definitions, events_of_interest

COMMANDS: dict[str, tuple[type[Message], ...]] = {
    "orders": (orders.ConfirmOrder, orders.CancelOrder, orders.ReturnOrder),
    "inventory": (inventory.ReserveInventory, inventory.ReleaseInventory),
    "payments": (payments.ChargePayment, payments.RefundPayment),
    "shipping": (shipping.CreateShipment, shipping.CancelShipment),
}

EVENTS: dict[type[Message], tuple[str, ...]] = {
    inventory.ProductListed: ("orders",),
    orders.OrderCreated: ("analytics",),
    orders.OrderConfirmed: ("notifications", "analytics"),
    orders.OrderCancelled: ("notifications", "analytics"),
    orders.OrderReturned: ("notifications", "analytics"),
    payments.PaymentWebhookReceived: ("payments",),
    payments.PaymentMismatchFound: ("sagas",),
    shipping.ShipmentMismatchFound: ("sagas",),
}


def _routing() -> Routing:
    known: tuple[type[Message], ...] = (
        *inventory.MESSAGES,
        *orders.MESSAGES,
        *payments.MESSAGES,
        *shipping.MESSAGES,
        MessageDeadLettered,
    )
    destinations: dict[str, list[str]] = defaultdict(list)
    for context, commands in COMMANDS.items():
        for command in commands:
            destinations[command.wire_type].append(context)
    for event in events_of_interest(definitions()):
        destinations[event.wire_type].append("sagas")
    for event, consumers in EVENTS.items():
        destinations[event.wire_type].extend(consumers)
    return Routing(
        types={message.wire_type: message for message in known},
        destinations={message.wire_type: tuple(destinations[message.wire_type]) for message in known},
    )


ROUTING = _routing()
