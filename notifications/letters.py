"""What customers are told, and in which words. Pure text: no database, no mail server."""

from __future__ import annotations

from dataclasses import dataclass

from orders.contracts import OrderCancelled, OrderConfirmed, OrderReturned

Outcome = OrderConfirmed | OrderCancelled | OrderReturned

_REASONS = {
    "out_of_stock": "Something in it is no longer in stock.",
    "payment_declined": "Your payment was declined.",
    "payment_unavailable": "Your payment could not be made.",
    "shipping_refused": "We cannot deliver to your address.",
    "cancelled_by_customer": "You asked us to cancel it.",
    "cancelled_by_operator": "Our customer service cancelled it.",
}
_OTHER_REASON = "We could not complete it in time."


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """Subject and text of an e-mail."""

    subject: str
    text: str


def write_letter(*, outcome: Outcome) -> Letter:
    """Write what the customer should know of an order's end."""
    order = f"Your order {outcome.order_id}"
    match outcome:
        case OrderConfirmed():
            return Letter(subject="Your order is confirmed", text=f"{order} is confirmed and on its way.\n")
        case OrderReturned():
            return Letter(subject="Your return is complete", text=f"{order} came back and was refunded.\n")
        case OrderCancelled(reason=reason):
            why = _REASONS.get(reason, _OTHER_REASON)
            text = f"{order} was cancelled. {why} You have not been charged, or have your money back.\n"
            return Letter(subject="Your order was cancelled", text=text)
