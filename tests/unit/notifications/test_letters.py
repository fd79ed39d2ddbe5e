"""Customers are told how their order ended, in plain words."""

import pytest
from uuid_utils.compat import uuid7

from notifications.letters import Letter, Outcome, write_letter
from orders.contracts import OrderCancelled, OrderConfirmed, OrderReturned

ORDER = uuid7()


@pytest.mark.parametrize(
    ("outcome", "letter"),
    [
        (
            OrderConfirmed(order_id=ORDER, customer_id=1),
            Letter(subject="Your order is confirmed", text=f"Your order {ORDER} is confirmed and on its way.\n"),
        ),
        (
            OrderReturned(order_id=ORDER, customer_id=1),
            Letter(subject="Your return is complete", text=f"Your order {ORDER} came back and was refunded.\n"),
        ),
    ],
)
def test_a_good_end_is_told(outcome: Outcome, letter: Letter) -> None:
    assert write_letter(outcome=outcome) == letter


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("out_of_stock", "no longer in stock"),
        ("payment_declined", "payment was declined"),
        ("shipping_refused", "cannot deliver"),
        ("deadline_exceeded", "could not complete it in time"),
        ("a reason of tomorrow", "could not complete it in time"),
        ("", "could not complete it in time"),
    ],
)
def test_a_cancellation_is_explained(reason: str, words: str) -> None:
    letter = write_letter(outcome=OrderCancelled(order_id=ORDER, customer_id=1, reason=reason))

    assert letter.subject == "Your order was cancelled"
    assert words in letter.text
    assert "have your money back" in letter.text
