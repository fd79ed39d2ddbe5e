"""The story of an order: reserve, charge, ship, confirm; and each way in which it turns back."""

from datetime import timedelta

import pytest

import inventory.contracts as inventory
import orders.contracts as orders
import payments.contracts as payments
import shipping.contracts as shipping
from sagas.definitions.order_fulfilment import ORDER_FULFILMENT
from sagas.engine import EXTENSION, due_at
from sagas.inputs import ResolveStuck, RetryStuck, SkipStuck
from sagas.states import SagaStatus
from sagas.testing import BEGIN, ORDER_ID, TICK, Story, given, sample

CREATED = orders.OrderCreated(
    order_id=ORDER_ID,
    customer_id=7,
    lines=(orders.Line(sku="CHAIR", quantity=2), orders.Line(sku="TABLE", quantity=1)),
    amount=42_000,
    currency="EUR",
    payment_method="card",
    address=orders.Address(name="A", line1="B 1", city="C", postal_code="1", country="DE"),
)


@pytest.fixture
def story() -> Story:
    return given(ORDER_FULFILMENT).started_by(CREATED)


def reserved(story: Story) -> Story:
    return story.expect(inventory.ReserveInventory).answer(sample(inventory.InventoryReserved))


def charged(story: Story) -> Story:
    return reserved(story).expect(payments.ChargePayment).answer(sample(payments.PaymentCharged))


def shipped(story: Story) -> Story:
    return charged(story).expect(shipping.CreateShipment).answer(sample(shipping.ShipmentCreated))


def test_an_order_that_goes_well_is_confirmed(story: Story) -> None:
    shipped(story).expect(orders.ConfirmOrder(order_id=ORDER_ID))

    story.answer(sample(orders.OrderConfirmed)).expect_ended("COMPLETED", reason="")


def test_every_command_is_filled_from_the_order(story: Story) -> None:
    lines = (inventory.Line(sku="CHAIR", quantity=2), inventory.Line(sku="TABLE", quantity=1))

    story.expect(inventory.ReserveInventory(order_id=ORDER_ID, lines=lines))
    story.answer(sample(inventory.InventoryReserved))
    story.expect(
        payments.ChargePayment(order_id=ORDER_ID, amount=42_000, currency="EUR", payment_method="card")
    ).answer(sample(payments.PaymentCharged))
    story.expect(
        shipping.CreateShipment(
            order_id=ORDER_ID,
            lines=(shipping.Line(sku="CHAIR", quantity=2), shipping.Line(sku="TABLE", quantity=1)),
            address=shipping.Address(name="A", line1="B 1", city="C", postal_code="1", country="DE"),
        )
    ).cancel("cancelled_by_customer")
    story.expect_compensation(shipping.CancelShipment(order_id=ORDER_ID))
    story.answer(sample(shipping.ShipmentCancelled))
    story.expect_compensation(payments.RefundPayment(order_id=ORDER_ID, amount=42_000, currency="EUR"))


def test_out_of_stock_cancels_at_once(story: Story) -> None:
    story.expect(inventory.ReserveInventory)

    story.answer(sample(inventory.InventoryFailed, reason="out_of_stock"))

    story.expect(orders.CancelOrder(order_id=ORDER_ID, reason="out_of_stock"), step="close")
    story.answer(sample(orders.OrderCancelled)).expect_ended("COMPENSATED", reason="out_of_stock")


def test_a_declined_card_releases_the_goods(story: Story) -> None:
    reserved(story).expect(payments.ChargePayment)

    story.answer(sample(payments.PaymentFailed, reason="payment_declined"))

    story.expect_compensation(inventory.ReleaseInventory).answer(sample(inventory.InventoryReleased))
    story.expect(orders.CancelOrder(order_id=ORDER_ID, reason="payment_declined"))
    story.answer(sample(orders.OrderCancelled)).expect_ended("COMPENSATED", reason="payment_declined")
    story.expect_step("charge-payment", "FAILED")


def test_a_charge_without_an_answer_is_refunded_too(story: Story) -> None:
    reserved(story).expect(payments.ChargePayment)

    story.answer(sample(payments.PaymentFailed, reason="payment_unavailable", definite=False))

    story.expect_compensation(payments.RefundPayment).answer(sample(payments.PaymentRefunded))
    story.expect_compensation(inventory.ReleaseInventory).settle()
    story.expect_ended("COMPENSATED", reason="payment_unavailable")


def test_a_charge_that_arrives_after_the_turn_is_refunded(story: Story) -> None:
    reserved(story).expect(payments.ChargePayment).deadline_passes()
    story.expect_compensation(payments.RefundPayment)

    story.answer(sample(payments.PaymentCharged)).expect_nothing().expect_step("charge-payment", "COMPENSATING")

    story.settle().expect_ended("COMPENSATED", reason="deadline_exceeded")


def test_a_charge_that_an_outage_holds_up_gets_more_time_until_patience_is_over(story: Story) -> None:
    hour = timedelta(hours=1)
    reserved(story).expect(payments.ChargePayment)

    for _ in range(3):
        story.deadline_passes("charge-payment", patience=hour).expect_nothing()
        story.expect_step("charge-payment", "RUNNING")
    assert due_at(ORDER_FULFILMENT, story.instance) == BEGIN + timedelta(minutes=5) + 3 * EXTENSION + 4 * TICK

    while story.instance.status is SagaStatus.RUNNING:
        last = due_at(ORDER_FULFILMENT, story.instance)
        story.deadline_passes("charge-payment", patience=hour)
    assert last == BEGIN + timedelta(minutes=65) + TICK
    story.expect_compensation(payments.RefundPayment)
    story.settle().expect_ended("COMPENSATED", reason="deadline_exceeded")


def test_after_an_outage_the_charge_goes_on_and_the_next_step_has_its_own_deadline(story: Story) -> None:
    reserved(story).expect(payments.ChargePayment).deadline_passes("charge-payment")

    story.answer(sample(payments.PaymentCharged)).expect(shipping.CreateShipment)

    story.settle().expect_ended("COMPLETED")


def test_an_outage_of_the_bank_does_not_excuse_the_carrier(story: Story) -> None:
    charged(story).expect(shipping.CreateShipment)

    story.deadline_passes("charge-payment")

    story.expect_compensation(shipping.CancelShipment)


def test_a_refused_shipment_refunds_and_releases(story: Story) -> None:
    charged(story).expect(shipping.CreateShipment)

    story.answer(sample(shipping.ShipmentFailed, reason="shipping_refused"))

    story.expect_compensation(payments.RefundPayment).answer(sample(payments.PaymentRefunded))
    story.expect_compensation(inventory.ReleaseInventory).answer(sample(inventory.InventoryReleased))
    story.expect(orders.CancelOrder).answer(sample(orders.OrderCancelled))
    story.expect_ended("COMPENSATED", reason="shipping_refused")


def test_an_order_that_is_being_cancelled_is_not_confirmed(story: Story) -> None:
    shipped(story).expect(orders.ConfirmOrder)

    story.answer(sample(orders.OrderConfirmRefused, reason="cancelled_by_customer"))

    story.expect_compensation(shipping.CancelShipment).settle()
    story.expect_ended("COMPENSATED", reason="cancelled_by_customer")
    assert [type(sent.order.command) for sent in story.sent[4:]] == [
        shipping.CancelShipment,
        payments.RefundPayment,
        inventory.ReleaseInventory,
        orders.CancelOrder,
    ]


def test_a_customer_cancels_while_the_charge_is_in_flight(story: Story) -> None:
    reserved(story).expect(payments.ChargePayment)

    story.cancel("cancelled_by_customer")

    story.expect_compensation(payments.RefundPayment).settle()
    story.expect_ended("COMPENSATED", reason="cancelled_by_customer")


def test_a_confirmed_order_cannot_be_cancelled(story: Story) -> None:
    shipped(story).expect(orders.ConfirmOrder).cancel("cancelled_by_customer").expect_nothing()

    story.answer(sample(orders.OrderConfirmed)).expect_ended("COMPLETED")


def test_a_refund_that_fails_for_good_waits_for_a_person(story: Story) -> None:
    charged(story).expect(shipping.CreateShipment).answer(sample(shipping.ShipmentFailed))
    story.expect_compensation(payments.RefundPayment).dead_letter(error="RefundRefused: account closed")
    story.expect_stuck("charge-payment")
    assert story.instance.steps["charge-payment"].error == "RefundRefused: account closed"

    story.operator(ResolveStuck())

    story.expect_compensation(inventory.ReleaseInventory).settle().expect_ended("COMPENSATED")
    story.expect_step("charge-payment", "RESOLVED")


def test_a_refund_is_sent_again_on_demand(story: Story) -> None:
    reserved(story).expect(payments.ChargePayment).deadline_passes()
    story.expect_compensation(payments.RefundPayment).dead_letter().expect_stuck("charge-payment")

    story.operator(RetryStuck()).expect_nothing().expect_step("charge-payment", "COMPENSATING")

    story.answer(sample(payments.PaymentRefunded)).expect_compensation(inventory.ReleaseInventory)


def test_a_release_that_fails_for_good_does_not_hold_up_the_order(story: Story) -> None:
    reserved(story).expect(payments.ChargePayment).answer(sample(payments.PaymentFailed))
    story.expect_compensation(inventory.ReleaseInventory).dead_letter().expect_stuck("reserve-inventory")

    story.operator(SkipStuck())

    story.expect(orders.CancelOrder).settle().expect_ended("COMPENSATED")


def test_each_wait_has_its_deadline(story: Story) -> None:
    def limit() -> timedelta:
        due = due_at(ORDER_FULFILMENT, story.instance)
        started = [s.started_at for s in story.instance.steps.values() if s.started_at and not s.ended_at]
        assert due is not None
        return due - started[0]

    assert due_at(ORDER_FULFILMENT, story.instance) == BEGIN + timedelta(minutes=10)
    assert limit() == timedelta(minutes=10)
    reserved(story).expect(payments.ChargePayment)
    assert limit() == timedelta(minutes=5)
    story.deadline_passes().expect_compensation(payments.RefundPayment)
    assert limit() == timedelta(hours=1)
    story.settle()
    assert due_at(ORDER_FULFILMENT, story.instance) is None
