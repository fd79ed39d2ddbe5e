"""What payments says and what it can be asked for. Amounts are in minor units."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from outbox.contracts import Command, Event, FailureEvent, Message


class PaymentCharged(Event, frozen=True, kw_only=True):
    """The customer's money was taken; `reference` is the gateway's own id."""

    wire_type: ClassVar[str] = "payment.charged"

    order_id: UUID
    amount: int
    currency: str
    reference: str


class PaymentFailed(FailureEvent, frozen=True, kw_only=True):
    """The charge was declined, or could not be made in time."""

    wire_type: ClassVar[str] = "payment.failed"

    order_id: UUID


class PaymentRefunded(Event, frozen=True, kw_only=True):
    """The gateway keeps no money for the order any more; with `amount` 0 there was nothing to give back."""

    wire_type: ClassVar[str] = "payment.refunded"

    order_id: UUID
    amount: int
    currency: str
    reference: str = ""


class PaymentMismatchFound(Event, frozen=True, kw_only=True):
    """The gateway's ledger and our payments disagree about a key, and a person must settle it.

    `finding` says how, as a stable code; `amount` in minor units is the money at stake, 0 when it is not known.
    """

    wire_type: ClassVar[str] = "payment.mismatch_found"

    order_id: UUID
    finding: str
    key: str
    detail: str
    amount: int = 0
    currency: str = ""


class PaymentWebhookReceived(Event, frozen=True, kw_only=True):
    """A gateway has told of something; what it said is kept under its own id of the event."""

    wire_type: ClassVar[str] = "payment.webhook_received"

    gateway: str
    event_id: str


class ChargePayment(Command, frozen=True, kw_only=True):
    """Take the order's total from the customer."""

    wire_type: ClassVar[str] = "payment.charge"
    success: ClassVar[type[Event]] = PaymentCharged
    failure: ClassVar[type[FailureEvent] | None] = PaymentFailed

    order_id: UUID
    amount: int
    currency: str
    payment_method: str


class RefundPayment(Command, frozen=True, kw_only=True):
    """Give back all that was taken for the order; looked up by key, so that a lost answer is covered too."""

    wire_type: ClassVar[str] = "payment.refund"
    success: ClassVar[type[Event]] = PaymentRefunded

    order_id: UUID
    amount: int
    currency: str


MESSAGES: tuple[type[Message], ...] = (
    PaymentCharged,
    PaymentFailed,
    PaymentRefunded,
    PaymentMismatchFound,
    PaymentWebhookReceived,
    ChargePayment,
    RefundPayment,
)
