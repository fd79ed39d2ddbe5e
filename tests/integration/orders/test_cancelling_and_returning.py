"""A pending order can be cancelled, a confirmed one returned; each tells of it once."""

import pytest
from uuid_utils.compat import uuid7

from orders import services
from orders.models import Order
from outbox.models import Message
from tests.factories.orders import placed, price, told

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _prices() -> None:
    price("MUG", 1250)


def cancel(order: Order, customer_id: int | None = 7, reason: str = services.CANCELLED_BY_CUSTOMER) -> None:
    """Ask for the order to be cancelled."""
    services.request_cancel(order_id=order.id, customer_id=customer_id, reason=reason)


def give_back(order: Order, customer_id: int | None = 7) -> None:
    """Ask for the order to be returned."""
    services.request_return(order_id=order.id, customer_id=customer_id)


def standing(order: Order) -> tuple[str, str]:
    """Return where the order is, and why."""
    order.refresh_from_db()
    return order.status, order.reason


@pytest.mark.parametrize("customer_id", [7, None])
def test_a_pending_order_is_cancelled_by_its_customer_or_an_operator(customer_id: int | None) -> None:
    order = placed(("MUG", 2))

    cancel(order, customer_id, "cancelled_by_operator")

    assert standing(order) == ("CANCELLING", "cancelled_by_operator")
    assert told(order.id) == ["order.created", "order.cancel_requested"]
    message = Message.objects.get(ordering_key=order.id, type="order.cancel_requested")
    assert message.payload == {"order_id": str(order.id), "reason": "cancelled_by_operator"}


def test_cancelling_twice_tells_once() -> None:
    order = placed(("MUG", 2))

    cancel(order)
    cancel(order, reason="other")

    assert standing(order) == ("CANCELLING", "cancelled_by_customer")
    assert told(order.id) == ["order.created", "order.cancel_requested"]


@pytest.mark.parametrize(
    ("status", "can_be_returned"),
    [("CONFIRMED", True), ("CANCELLED", False), ("RETURNING", False), ("RETURNED", False)],
)
def test_past_the_pivot_an_order_cannot_be_cancelled(status: str, can_be_returned: bool) -> None:
    order = placed(("MUG", 2), status=status)

    with pytest.raises(services.NotCancellable) as refusal:
        cancel(order)

    assert (refusal.value.status, refusal.value.can_be_returned) == (status, can_be_returned)
    assert standing(order) == (status, "")
    assert told(order.id) == ["order.created"]


def test_a_confirmed_order_is_returned() -> None:
    order = placed(("MUG", 2), status="CONFIRMED")

    give_back(order)

    assert standing(order) == ("RETURNING", "")
    message = Message.objects.get(ordering_key=order.id, type="order.return_requested")
    assert message.payload == {"order_id": str(order.id), "amount": 2500, "currency": "EUR"}


def test_returning_twice_tells_once() -> None:
    order = placed(("MUG", 2), status="CONFIRMED")

    give_back(order)
    give_back(order)

    assert told(order.id) == ["order.created", "order.return_requested"]


@pytest.mark.parametrize("status", ["PENDING", "CANCELLING", "CANCELLED", "RETURNED"])
def test_only_a_confirmed_order_can_be_returned(status: str) -> None:
    order = placed(("MUG", 2), status=status)

    with pytest.raises(services.NotReturnable) as refusal:
        give_back(order)

    assert refusal.value.status == status
    assert standing(order) == (status, "")
    assert told(order.id) == ["order.created"]


def test_another_customers_order_is_not_found() -> None:
    pending, confirmed = placed(("MUG", 2)), placed(("MUG", 3), status="CONFIRMED")

    with pytest.raises(services.OrderNotFound):
        cancel(pending, customer_id=8)
    with pytest.raises(services.OrderNotFound):
        give_back(confirmed, customer_id=8)

    assert (standing(pending), standing(confirmed)) == (("PENDING", ""), ("CONFIRMED", ""))


def test_an_order_that_does_not_exist_is_not_found() -> None:
    with pytest.raises(services.OrderNotFound):
        services.request_cancel(order_id=uuid7(), customer_id=None, reason="x")
    with pytest.raises(services.OrderNotFound):
        services.request_return(order_id=uuid7(), customer_id=None)
