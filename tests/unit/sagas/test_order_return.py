"""The story of a return: the money first, then the goods, then the word to the customer. There is no way back."""

import pytest

import inventory.contracts as inventory
import orders.contracts as orders
import payments.contracts as payments
from sagas.definitions.order_return import ORDER_RETURN
from sagas.inputs import ResolveStuck, RetryStuck
from sagas.testing import ORDER_ID, Story, given, sample


@pytest.fixture
def story() -> Story:
    asked = orders.OrderReturnRequested(order_id=ORDER_ID, amount=4_200, currency="EUR")
    return given(ORDER_RETURN).started_by(asked)


def test_a_return_refunds_restocks_and_tells(story: Story) -> None:
    story.expect(payments.RefundPayment(order_id=ORDER_ID, amount=4_200, currency="EUR"))
    story.answer(sample(payments.PaymentRefunded))
    story.expect(inventory.ReleaseInventory(order_id=ORDER_ID)).answer(sample(inventory.InventoryReleased))
    story.expect(orders.ReturnOrder(order_id=ORDER_ID)).answer(sample(orders.OrderReturned))

    story.expect_ended("COMPLETED", reason="")


def test_nothing_is_restocked_before_the_customer_has_the_money(story: Story) -> None:
    story.expect(payments.RefundPayment).dead_letter(error="RefundRefused: account closed")

    story.expect_stuck("refund-payment").operator(ResolveStuck())

    story.expect(inventory.ReleaseInventory)


def test_a_return_cannot_be_cancelled(story: Story) -> None:
    story.expect(payments.RefundPayment)

    story.cancel("cancelled_by_operator")

    story.expect_nothing().settle().expect_ended("COMPLETED")


def test_a_fresh_refund_is_sent_as_it_was_edited(story: Story) -> None:
    story.reach("refund-payment").dead_letter()
    edited = sample(payments.RefundPayment, amount=7)

    story.operator(RetryStuck(frozenset({"refund-payment"}), {"refund-payment": edited}))

    story.expect(edited, step="refund-payment~2").settle().expect_ended("COMPLETED")


def test_what_is_still_on_its_way_is_not_sent_anew_whatever_was_edited(story: Story) -> None:
    story.reach("refund-payment").dead_letter()

    story.operator(RetryStuck(frozenset(), {"refund-payment": sample(payments.RefundPayment, amount=7)}))

    story.expect_nothing().settle().expect_ended("COMPLETED")
