"""Whole orders through the real contexts and relays, with a gateway and a carrier that answer at once."""

from collections import Counter
from collections.abc import Collection
from typing import Any

import pytest
from django.core import mail
from django.utils import timezone
from pytest_django import Settings

from analytics.models import OrdersPerDay
from config.routing import ROUTING
from inventory.models import Reservation
from orders.models import Order
from orders.services import request_cancel, request_return
from outbox import publishing
from outbox.consumers import TransientError
from outbox.models import Attempt, Delivery, Lane, Message
from outbox.publishing import Routing
from payments.gateways.instant import InstantGateway
from payments.models import Payment, Refund
from sagas import services
from sagas.deadlines import sweep_deadlines
from sagas.models import Case, SagaInstance
from shipping.carriers.instant import InstantCarrier
from shipping.carriers.protocol import ShipmentRefused
from shipping.models import Shipment
from tests.factories.inventory import levels, stocked
from tests.factories.orders import placed, price, told
from tests.messaging import drain, make_due, refill_bucket, waiting

ROOMS = ["outbox", "orders", "inventory", "payments", "shipping", "notifications", "analytics", "sagas"]
pytestmark = pytest.mark.django_db(transaction=True, available_apps=ROOMS)

FULFILLED = [
    "order.created",
    "inventory.reserve",
    "inventory.reserved",
    "payment.charge",
    "payment.charged",
    "shipment.create",
    "shipment.created",
    "order.confirm",
    "order.confirmed",
]


def address_book(customer_ids: Collection[int]) -> dict[int, str]:
    return {number: f"customer{number}@example.org" for number in customer_ids}


@pytest.fixture(autouse=True)
def _shop(transactional_db: None, settings: Settings) -> None:
    """Ten mugs at 12.50, an outside world that says yes, and no limit that a test would notice."""
    settings.PAYMENT_GATEWAY = settings.CARRIER = "instant"
    settings.NOTIFICATIONS_ADDRESS_BOOK = f"{__name__}.address_book"
    settings.COMPENSATIONS_PER_SECOND = 100_000
    refill_bucket()
    price("MUG")
    stocked("MUG", on_hand=10)


def refuse_parcels(_: InstantCarrier, request: Any) -> ShipmentRefused:
    return ShipmentRefused(carrier="instant", code="no_route", detail="nobody goes there")


def end_of(order: Order) -> tuple[str, str]:
    order.refresh_from_db()
    return order.status, order.reason


def sagas_of(order: Order) -> dict[str, str]:
    return dict(SagaInstance.objects.filter(key=order.id).values_list("name", "status"))


def money_of(order: Order) -> dict[str, list[int]]:
    """Return amounts of the order's payments by status, and of its refunds."""
    found: dict[str, list[int]] = {}
    for status, amount in Payment.objects.filter(order_id=order.id).values_list("status", "amount"):
        found.setdefault(status, []).append(amount)
    refunds = list(Refund.objects.filter(order_id=order.id).values_list("amount", flat=True))
    return found | ({"refunds": refunds} if refunds else {})


def parcels_of(order: Order) -> list[str]:
    return list(Shipment.objects.filter(order_id=order.id).values_list("status", flat=True))


def test_an_order_is_confirmed_in_one_run_and_leaves_nothing_behind() -> None:
    order = placed(("MUG", 2))

    drain()

    assert end_of(order) == ("CONFIRMED", "")
    assert told(order.id) == FULFILLED
    assert money_of(order) == {"charged": [2500]}
    assert parcels_of(order) == ["created"]
    assert levels("MUG") == (8, 2)
    assert [(letter.to, letter.subject) for letter in mail.outbox] == [
        (["customer7@example.org"], "Your order is confirmed")
    ]
    counted = {row.outcome: (row.orders, row.amount) for row in OrdersPerDay.objects.all()}
    assert counted == {"created": (1, 2500), "confirmed": (1, 2500)}
    assert waiting() == []
    assert Attempt.objects.count() == Case.objects.count() == 0


def test_an_order_that_is_out_of_stock_is_cancelled() -> None:
    order = placed(("MUG", 11))

    drain()

    assert end_of(order) == ("CANCELLED", "out_of_stock")
    assert told(order.id) == [
        "order.created",
        "inventory.reserve",
        "inventory.failed",
        "order.cancel",
        "order.cancelled",
    ]
    assert money_of(order) == {}
    assert levels("MUG") == (10, 0)


def test_a_refused_parcel_gives_money_and_goods_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InstantCarrier, "create", refuse_parcels)
    order = placed(("MUG", 2))

    drain()

    assert end_of(order) == ("CANCELLED", "shipping_refused")
    assert money_of(order) == {"refunded": [2500], "refunds": [2500]}
    assert levels("MUG") == (10, 0)
    assert sagas_of(order) == {"order-fulfilment": "COMPENSATED"}


def test_an_order_cancelled_on_its_way_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    order = placed(("MUG", 2))
    drain(Lane.RELAY)
    request_cancel(order_id=order.id, customer_id=7, reason="cancelled_by_customer")

    drain()

    assert end_of(order) == ("CANCELLED", "cancelled_by_customer")
    assert money_of(order) == {}
    assert levels("MUG") == (10, 0)
    # The charge had not gone out yet: it is withdrawn, and its compensation finds nothing to undo.
    decisions = Attempt.objects.filter(ordering_key=order.id).values_list("type", "decision")
    assert list(decisions) == [("payment.charge", "withdrawn")]


def test_a_cancel_that_meets_a_charge_without_an_answer_gives_the_money_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bank has charged, its answer got lost, and the customer does not want it any more."""
    charge = InstantGateway.charge
    kept: dict[str, Any] = {}

    def charge_and_be_lost(self: InstantGateway, request: Any) -> Any:
        kept[request.key] = charge(self, request)
        raise TransientError("no answer")

    monkeypatch.setattr(InstantGateway, "charge", charge_and_be_lost)
    monkeypatch.setattr(InstantGateway, "look_up", lambda _, *, key: kept.get(key))
    order = placed(("MUG", 2))
    drain(Lane.RELAY)
    drain(Lane.EFFECTS)
    request_cancel(order_id=order.id, customer_id=7, reason="cancelled_by_customer")
    make_due()

    drain()

    assert len(kept) == 1
    assert end_of(order) == ("CANCELLED", "cancelled_by_customer")
    assert money_of(order) == {"refunded": [2500], "refunds": [2500]}


def test_a_confirmed_order_comes_back() -> None:
    order = placed(("MUG", 2))
    drain()
    request_return(order_id=order.id, customer_id=7)

    drain()

    assert end_of(order) == ("RETURNED", "")
    assert sagas_of(order) == {"order-fulfilment": "COMPLETED", "order-return": "COMPLETED"}
    assert money_of(order) == {"refunded": [2500], "refunds": [2500]}
    assert levels("MUG") == (10, 0)
    assert [letter.subject for letter in mail.outbox][1:] == ["Your return is complete"]


def test_of_many_who_want_the_last_pieces_exactly_so_many_get_one() -> None:
    orders = [placed(("MUG", 1), customer_id=number) for number in range(30)]

    drain()

    ends = Counter(end_of(order) for order in orders)
    assert ends == {("CONFIRMED", ""): 10, ("CANCELLED", "out_of_stock"): 20}
    assert levels("MUG") == (0, 10)
    assert Payment.objects.filter(status="charged").count() == 10
    assert waiting() == []


@pytest.mark.parametrize("kind", ["confirmed", "refused"])
def test_every_message_delivered_twice_comes_to_the_same_end(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    twice = {wire_type: names * 2 for wire_type, names in ROUTING.destinations.items()}
    monkeypatch.setattr(publishing, "_routing", Routing(types=ROUTING.types, destinations=twice))
    if kind == "refused":
        monkeypatch.setattr(InstantCarrier, "create", refuse_parcels)
    orders = [placed(("MUG", 1), customer_id=number) for number in range(5)]

    drain()

    assert waiting() == []
    if kind == "confirmed":
        assert {end_of(order) for order in orders} == {("CONFIRMED", "")}
        assert [told(order.id) for order in orders] == [FULFILLED] * 5
        assert [money_of(order) for order in orders] == [{"charged": [1250]}] * 5
        assert levels("MUG") == (5, 5)
        assert {row.outcome: row.orders for row in OrdersPerDay.objects.all()} == {"created": 5, "confirmed": 5}
    else:
        assert {end_of(order) for order in orders} == {("CANCELLED", "shipping_refused")}
        assert [money_of(order) for order in orders] == [{"refunded": [1250], "refunds": [1250]}] * 5
        assert levels("MUG") == (10, 0)
    assert len(mail.outbox) == 5
    assert Case.objects.count() == 0


@pytest.mark.parametrize("command", ["on its way", "gone"])
def test_a_refund_that_an_operator_has_sent_again_gives_the_money_back(
    monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """It has had no answer within its deadline: whether its command still waits or not, the charge is found."""
    monkeypatch.setattr(InstantCarrier, "create", refuse_parcels)
    order = placed(("MUG", 2))
    while not Delivery.objects.filter(type="payment.refund").exists():
        drain(Lane.RELAY)
        drain(Lane.EFFECTS)
    refund = Message.objects.get(ordering_key=order.id, type="payment.refund")
    saga = SagaInstance.objects.get(key=order.id)
    _let_deadlines_pass(saga)
    assert sweep_deadlines() == 1
    if command == "gone":
        Delivery.objects.filter(message_id=refund.pk).delete()

    services.retry(saga_id=saga.pk, operator="grace", reason="the workers were away")
    drain()

    assert end_of(order) == ("CANCELLED", "shipping_refused")
    assert money_of(order) == {"refunded": [2500], "refunds": [2500]}
    assert levels("MUG") == (10, 0)
    assert Message.objects.filter(ordering_key=order.id, type="payment.refund").count() == (
        1 if command == "on its way" else 2
    )


@pytest.mark.parametrize("command", ["on its way", "gone"])
def test_a_parcel_that_an_operator_has_stopped_again_is_stopped(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    stopped: list[str] = []

    def stop(_: InstantCarrier, *, key: str) -> bool:
        stopped.append(key)
        return True

    monkeypatch.setattr(InstantCarrier, "cancel", stop)
    order = placed(("MUG", 2))
    while parcels_of(order) != ["created"]:
        drain(Lane.RELAY)
        Delivery.objects.filter(type="shipment.created").update(available_at="2999-01-01T00:00Z")
        drain(Lane.EFFECTS)
    Delivery.objects.filter(type="shipment.created").update(available_at="2999-01-01T00:00Z")
    saga = SagaInstance.objects.get(key=order.id)
    services.compensate(saga_id=saga.pk, operator="grace", reason="fraud")
    _let_deadlines_pass(saga)
    assert sweep_deadlines() == 1
    if command == "gone":
        Delivery.objects.filter(type="shipment.cancel").delete()

    services.retry(saga_id=saga.pk, operator="grace", reason="the workers were away")
    make_due()
    drain()

    assert stopped == [f"{order.id}-{saga.pk}-create-shipment"]
    assert parcels_of(order) == ["cancelled"]
    assert end_of(order) == ("CANCELLED", "cancelled_by_operator")


def test_a_hundred_orders_of_a_mixed_day_all_end(monkeypatch: pytest.MonkeyPatch) -> None:
    create = InstantCarrier.create

    def refuse_some(self: InstantCarrier, request: Any) -> Any:
        return refuse_parcels(self, request) if request.order_id.int % 5 == 0 else create(self, request)

    monkeypatch.setattr(InstantCarrier, "create", refuse_some)
    price("PEN", 99)
    stocked("PEN", on_hand=1_000)
    orders = [placed(("PEN", 1 + number % 7), customer_id=number) for number in range(100)]

    drain()

    refused = {order.id for order in orders if order.id.int % 5 == 0}
    ends = {order.id: end_of(order)[0] for order in orders}
    assert ends == {order.id: "CANCELLED" if order.id in refused else "CONFIRMED" for order in orders}
    sold = sum(1 + number % 7 for number, order in enumerate(orders) if order.id not in refused)
    assert levels("PEN") == (1_000 - sold, sold)
    assert Payment.objects.filter(status="charged").count() == 100 - len(refused)
    assert Reservation.objects.filter(status="held").count() == 100 - len(refused)
    assert waiting() == []
    assert len(mail.outbox) == 100


def _let_deadlines_pass(saga: SagaInstance) -> None:
    saga.refresh_from_db()
    steps = {
        name: state | ({"started_at": "2026-01-01T00:00:00+00:00"} if "started_at" in state else {})
        for name, state in saga.steps.items()
    }
    SagaInstance.objects.filter(pk=saga.pk).update(steps=steps, due_at=timezone.now())
