"""An order is placed at today's prices, with its message, or not at all."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.postgres.constraints import ExclusionConstraint
from django.db import IntegrityError, connection, transaction
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.test.utils import CaptureQueriesContext
from uuid_utils.compat import uuid7

from orders import services
from orders.contracts import Address, Line, OrderCreated
from orders.models import MAX_PRICE, Order, OrderLine, Price
from outbox.contracts import decode
from outbox.models import Delivery, Message
from tests.factories.orders import ADDRESS, price, told

pytestmark = pytest.mark.django_db

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def place(*items: tuple[str, int], customer_id: int = 7, **changes: Any) -> Order:
    """Place an order through the service."""
    wanted: dict[str, Any] = {
        "customer_id": customer_id,
        "items": [Line(sku=sku, quantity=quantity) for sku, quantity in items],
        "payment_method": "pm_card_visa",
        "shipping_address": Address(**ADDRESS),
    }
    return services.place_order(**(wanted | changes))


def test_an_order_has_the_prices_of_its_checkout() -> None:
    price("MUG", 1250)
    price("PEN", 99)

    order = place(("MUG", 2), ("PEN", 3))

    kept = Order.objects.get(id=order.id)
    assert (kept.customer_id, kept.status, kept.reason) == (7, "PENDING", "")
    assert (kept.amount, kept.currency) == (2797, "EUR")
    assert (kept.payment_method, kept.shipping_address) == ("pm_card_visa", ADDRESS)
    assert (order.placed_at, order.updated_at) == (kept.placed_at, kept.updated_at)
    lines = OrderLine.objects.filter(order=order).values_list("position", "sku", "name", "quantity", "unit_price")
    assert list(lines) == [(0, "MUG", "The MUG", 2, 1250), (1, "PEN", "The PEN", 3, 99)]
    assert [line.sku for line in order.loaded_lines] == ["MUG", "PEN"]


def test_a_new_price_does_not_change_an_order() -> None:
    price("MUG", 1250)
    order = place(("MUG", 2))

    price("MUG", 9999)

    order.refresh_from_db()
    assert order.amount == 2500
    assert OrderLine.objects.get(order=order).unit_price == 1250


def test_an_order_tells_of_itself() -> None:
    price("MUG", 1250)

    order = place(("MUG", 2), traceparent=TRACEPARENT)

    message = Message.objects.get(ordering_key=order.id)
    assert (message.type, message.kind, message.source) == ("order.created", "event", "orders")
    assert message.headers == {"traceparent": TRACEPARENT}
    created = decode(OrderCreated, json.dumps(message.payload))
    assert created == OrderCreated(
        order_id=order.id,
        customer_id=7,
        lines=(Line(sku="MUG", quantity=2),),
        amount=2500,
        currency="EUR",
        payment_method="pm_card_visa",
        address=Address(**ADDRESS),
    )
    assert Delivery.objects.filter(message_id=message.id, destination="sagas").count() == 1


def test_a_checkout_costs_three_statements() -> None:
    price("MUG")
    price("PEN")

    with CaptureQueriesContext(connection) as queries:
        place(("MUG", 1), ("PEN", 1))

    assert len(queries) == 3


@pytest.mark.parametrize(
    ("items", "error", "positions"),
    [
        ([], services.NoItems, ()),
        ([(f"S{number}", 1) for number in range(101)], services.TooManyItems, ()),
        ([("MUG", 1), ("PEN", 0)], services.QuantityOutOfRange, (1,)),
        ([("MUG", -1), ("PEN", 10_001)], services.QuantityOutOfRange, (0, 1)),
        ([("MUG", 1), ("PEN", 1), ("MUG", 2), ("PEN", 1)], services.RepeatedSku, (2, 3)),
        ([("NONE", 1), ("MUG", 1), ("NADA", 1)], services.UnknownSku, (0, 2)),
        ([("MUG", 1), ("DOLLAR", 1)], services.MixedCurrencies, ()),
    ],
)
def test_what_cannot_be_ordered_is_refused_and_leaves_nothing(
    items: list[tuple[str, int]], error: type[services.InvalidItems], positions: tuple[int, ...]
) -> None:
    price("MUG")
    price("PEN")
    price("DOLLAR", currency="USD")
    said = Message.objects.count()

    with pytest.raises(error) as refusal:
        place(*items)

    assert refusal.value.positions == positions
    assert (Order.objects.count(), Message.objects.count()) == (0, said)


def test_a_currency_mix_names_the_currencies() -> None:
    price("MUG")
    price("DOLLAR", currency="USD")

    with pytest.raises(services.MixedCurrencies) as refusal:
        place(("MUG", 1), ("DOLLAR", 1))

    assert refusal.value.currencies == ("EUR", "USD")


def test_the_largest_order_fits() -> None:
    for number in range(100):
        price(f"S{number}", MAX_PRICE)

    order = place(*[(f"S{number}", 10_000) for number in range(100)])

    assert order.amount == 10**18


def test_the_same_items_within_a_second_are_a_duplicate_in_any_order() -> None:
    price("MUG")
    price("PEN")
    first = place(("MUG", 1), ("PEN", 2))

    with pytest.raises(services.DuplicateOrder) as refusal:
        place(("PEN", 2), ("MUG", 1), payment_method="pm_other")

    assert refusal.value.first_order_id == first.id
    assert told(first.id) == ["order.created"]
    assert Order.objects.count() == 1


@pytest.mark.parametrize(
    ("items", "customer_id"),
    [([("MUG", 2), ("PEN", 2)], 7), ([("MUG", 1)], 7), ([("MUG", 1), ("PEN", 2)], 8)],
)
def test_other_items_or_another_customer_are_no_duplicate(items: list[tuple[str, int]], customer_id: int) -> None:
    price("MUG")
    price("PEN")
    place(("MUG", 1), ("PEN", 2))

    place(*items, customer_id=customer_id)

    assert Order.objects.count() == 2


def test_after_a_second_the_same_items_are_a_new_order() -> None:
    price("MUG")
    first = place(("MUG", 1))
    passed = DateTimeTZRange(first.placed_at - timedelta(seconds=1), first.placed_at)
    Order.objects.filter(id=first.id).update(guard_window=passed)

    second = place(("MUG", 1))

    assert second.id != first.id


def test_the_guard_lasts_exactly_one_second_of_the_database_clock() -> None:
    price("MUG")

    order = place(("MUG", 1))

    window = order.guard_window
    assert (window.upper - window.lower).total_seconds() == 1
    assert abs((window.lower - order.placed_at).total_seconds()) < 0.1


def test_the_database_itself_holds_the_guard() -> None:
    price("MUG")
    first = place(("MUG", 1))
    first.id = uuid7()
    first._state.adding = True

    with pytest.raises(IntegrityError, match="orders_order_duplicate_guard"), transaction.atomic():
        first.save(force_insert=True)

    assert any(isinstance(constraint, ExclusionConstraint) for constraint in Order._meta.constraints)


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ({"status": "LOST"}, "orders_order_status_known"),
        ({"amount": -1}, "orders_order_amount_not_negative"),
        ({"currency": "euro"}, "orders_order_currency_code"),
    ],
)
def test_the_database_refuses_what_makes_no_sense(changes: dict[str, Any], constraint: str) -> None:
    price("MUG")
    order = place(("MUG", 1))

    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        Order.objects.filter(id=order.id).update(**changes)


def test_the_price_list_refuses_negative_prices() -> None:
    with pytest.raises(IntegrityError, match="orders_price_amount_in_range"), transaction.atomic():
        price("MUG", -1)

    assert Price.objects.count() == 0


def test_status_updates_touch_no_index() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'orders_order'")
        definitions = " ".join(definition for (definition,) in cursor.fetchall())

    assert not any(column in definitions for column in ("status", "reason", "updated_at"))
