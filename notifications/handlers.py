"""What notifications does with an event: one e-mail to the customer about how the order ended."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from notifications import services
from notifications.letters import Outcome as OrderOutcome
from notifications.letters import write_letter
from orders.contracts import OrderCancelled, OrderConfirmed, OrderReturned
from outbox.consumers import Consumer, Effectful, Outcome, RetryPolicy, TransientError
from outbox.contracts import Envelope


def send_emails(envelopes: Sequence[Envelope[OrderOutcome]]) -> list[bool | TransientError]:
    """Write to the customers; each answer says whether there was an address, or what went wrong."""
    return services.send_emails(
        dispatches=[
            services.Dispatch(
                message_id=envelope.id,
                customer_id=envelope.data.customer_id,
                letter=write_letter(outcome=envelope.data),
            )
            for envelope in envelopes
        ]
    )


def record_emails(answers: Sequence[tuple[Envelope[OrderOutcome], bool]]) -> list[Outcome]:
    """Write down what went out; nobody waits for an answer."""
    services.record_emails(
        emails=[
            (envelope.id, envelope.data.order_id, envelope.data.wire_type) for envelope, was_sent in answers if was_sent
        ]
    )
    return [None] * len(answers)


# A mail server is away for hours rather than seconds: about half a day in all.
_SEND = Effectful(
    call_together=send_emails,
    record=record_emails,
    policy=RetryPolicy(attempts=20, base=timedelta(seconds=2), cap=timedelta(hours=2)),
)

CONSUMER = Consumer(
    name="notifications",
    handlers={OrderConfirmed: _SEND, OrderCancelled: _SEND, OrderReturned: _SEND},
)
