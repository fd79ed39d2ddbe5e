"""What orders does when it is told something; every message is handled twice."""

from collections.abc import Sequence
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from uuid_utils.compat import uuid7

from inventory.contracts import ProductListed
from orders.contracts import (
    CancelOrder,
    ConfirmOrder,
    OrderCancelled,
    OrderConfirmed,
    OrderConfirmRefused,
    OrderReturned,
    ReturnOrder,
)
from orders.handlers import CONSUMER, MisdirectedOrder
from orders.models import Order, Price
from outbox.consumers import CONSUMERS, Joined, Outcome
from outbox.contracts import Message
from tests.factories.envelopes import envelope
from tests.factories.orders import many_placed, placed, price

pytestmark = pytest.mark.django_db


def handle(*messages: Message) -> Sequence[Outcome]:
    """Deliver a batch of one type."""
    handler = CONSUMER.handlers[type(messages[0])]
    assert isinstance(handler, Joined)
    return handler.handle([envelope(message, subject=uuid7()) for message in messages])


def standings() -> dict[Any, tuple[str, str]]:
    """Return where each order is, and why."""
    return {order.id: (order.status, order.reason) for order in Order.objects.all()}


def test_the_consumer_is_known_to_the_relay() -> None:
    assert CONSUMERS["orders"] is CONSUMER
    assert all(isinstance(handler, Joined) for handler in CONSUMER.handlers.values())


def test_pending_orders_are_confirmed() -> None:
    ids = [order.id for order in many_placed(3)]
    commands = [ConfirmOrder(order_id=order_id) for order_id in ids]

    first, second = handle(*commands), handle(*commands)

    assert first == second == [OrderConfirmed(order_id=order_id, customer_id=7) for order_id in ids]
    assert standings() == dict.fromkeys(ids, ("CONFIRMED", ""))


@pytest.mark.parametrize("status", ["CANCELLING", "CANCELLED"])
def test_an_order_that_is_being_cancelled_is_not_confirmed(status: str) -> None:
    price("MUG")
    pending = placed(("MUG", 1))
    cancelled = placed(("MUG", 2), status=status, reason="cancelled_by_customer")

    for _ in range(2):
        outcomes = handle(ConfirmOrder(order_id=cancelled.id), ConfirmOrder(order_id=pending.id))

        refused = OrderConfirmRefused(
            order_id=cancelled.id, reason="cancelled_by_customer", detail=f"The order is {status}."
        )
        assert outcomes == [refused, OrderConfirmed(order_id=pending.id, customer_id=7)]
    assert standings() == {pending.id: ("CONFIRMED", ""), cancelled.id: (status, "cancelled_by_customer")}


@pytest.mark.parametrize("status", ["RETURNING", "RETURNED"])
def test_a_late_confirmation_of_a_returned_order_changes_nothing(status: str) -> None:
    [order] = many_placed(1, status=status)

    assert handle(ConfirmOrder(order_id=order.id)) == [OrderConfirmed(order_id=order.id, customer_id=7)]

    assert standings() == {order.id: (status, "")}


def test_orders_are_cancelled_each_for_its_reason() -> None:
    price("MUG")
    pending = placed(("MUG", 1))
    asked = placed(("MUG", 2), status="CANCELLING", reason="cancelled_by_customer")
    commands = [
        CancelOrder(order_id=pending.id, reason="payment_declined"),
        CancelOrder(order_id=asked.id, reason=""),
    ]

    first, second = handle(*commands), handle(*commands)

    assert first == second
    assert first == [
        OrderCancelled(order_id=pending.id, customer_id=7, reason="payment_declined"),
        OrderCancelled(order_id=asked.id, customer_id=7, reason="cancelled_by_customer"),
    ]
    assert standings() == {
        pending.id: ("CANCELLED", "payment_declined"),
        asked.id: ("CANCELLED", "cancelled_by_customer"),
    }


@pytest.mark.parametrize("status", ["CONFIRMED", "RETURNING", "RETURNED"])
def test_a_confirmed_order_is_never_cancelled(status: str) -> None:
    [order] = many_placed(1, status=status)

    with pytest.raises(MisdirectedOrder, match=f"is {status}"):
        handle(CancelOrder(order_id=order.id, reason="x"))

    assert standings() == {order.id: (status, "")}


def test_returned_orders_are_closed() -> None:
    ids = [order.id for order in many_placed(2, status="RETURNING")]
    commands = [ReturnOrder(order_id=order_id) for order_id in ids]

    first, second = handle(*commands), handle(*commands)

    assert first == second == [OrderReturned(order_id=order_id, customer_id=7) for order_id in ids]
    assert standings() == dict.fromkeys(ids, ("RETURNED", ""))


@pytest.mark.parametrize("status", ["PENDING", "CONFIRMED", "CANCELLED"])
def test_an_order_whose_return_was_not_asked_for_is_not_closed(status: str) -> None:
    [order] = many_placed(1, status=status)

    with pytest.raises(MisdirectedOrder):
        handle(ReturnOrder(order_id=order.id))

    assert standings() == {order.id: (status, "")}


@pytest.mark.parametrize("command", [ConfirmOrder, ReturnOrder])
def test_an_order_that_is_not_here_is_an_error(command: type[Any]) -> None:
    with pytest.raises(MisdirectedOrder, match="no order"):
        handle(command(order_id=uuid7()))


def test_the_price_list_follows_what_is_listed() -> None:
    price("MUG", 100)
    listed = [
        ProductListed(sku="PEN", name="Pen", price=99, currency="USD"),
        ProductListed(sku="MUG", name="Mug", price=200, currency="EUR"),
        ProductListed(sku="MUG", name="Big mug", price=300, currency="EUR"),
    ]

    for _ in range(2):
        assert handle(*listed) == [None, None, None]

    prices = Price.objects.values_list("sku", "name", "amount", "currency")
    assert list(prices) == [("MUG", "Big mug", 300, "EUR"), ("PEN", "Pen", 99, "USD")]


@pytest.mark.parametrize("number", [1, 20])
def test_a_batch_costs_one_statement(number: int) -> None:
    orders = many_placed(number)
    batches: list[list[Message]] = [
        [ConfirmOrder(order_id=order.id) for order in orders],
        [ProductListed(sku=f"S{n}", name="x", price=1, currency="EUR") for n in range(number)],
    ]

    for batch in batches:
        with CaptureQueriesContext(connection) as queries:
            handle(*batch)
        assert len(queries) == 1
