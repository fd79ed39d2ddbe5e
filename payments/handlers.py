"""What payments does with a message: ask the gateway by the step's key, then record the batch of answers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from outbox.consumers import Consumer, Effectful, Known, Outcome, RetryPolicy, Wait
from outbox.contracts import COMPENSATION, Envelope
from outbox.reconciliation import Dealt
from payments import services, webhooks
from payments.contracts import (
    ChargePayment,
    PaymentCharged,
    PaymentFailed,
    PaymentRefunded,
    PaymentWebhookReceived,
    RefundPayment,
)
from payments.gateways.protocol import ChargeAnswer, ChargeMade, ChargeRequest

# A parked webhook is looked at again after this long; the record of its charge settles it sooner.
PARKED = timedelta(seconds=2)


def charge_payment(envelope: Envelope[ChargePayment]) -> ChargeAnswer:
    """Take the order's total; on a retry, only after asking whether it was taken already."""
    return services.charge_payment(request=_charge_request(envelope), is_retry=envelope.is_retry)


def record_charges(answers: Sequence[tuple[Envelope[ChargePayment], ChargeAnswer]]) -> list[Outcome]:
    """Write down the answers and say which order was charged and which was declined."""
    services.record_charges(charges=[(_charge_request(envelope), answer) for envelope, answer in answers])
    return [
        PaymentCharged(
            order_id=envelope.data.order_id,
            amount=envelope.data.amount,
            currency=envelope.data.currency,
            reference=answer.reference,
        )
        if isinstance(answer, ChargeMade)
        else PaymentFailed(
            order_id=envelope.data.order_id,
            reason="payment_declined",
            detail=f"{answer.code}: {answer.detail}",
        )
        for envelope, answer in answers
    ]


def give_up_charge(envelope: Envelope[ChargePayment], error: str) -> PaymentFailed:
    """Say that the charge was not made in time, as far as we know: it is refunded by key all the same."""
    return PaymentFailed(order_id=envelope.data.order_id, reason="payment_unavailable", detail=error, definite=False)


def ask_about_charge(envelope: Envelope[ChargePayment]) -> Known:
    """Ask the gateway what it knows of this charge."""
    return services.ask_about_charge(key=envelope.step_key, order_id=envelope.data.order_id)


def _charge_request(envelope: Envelope[ChargePayment]) -> ChargeRequest:
    command = envelope.data
    return ChargeRequest(
        key=envelope.step_key,
        order_id=command.order_id,
        amount=command.amount,
        currency=command.currency,
        payment_method=command.payment_method,
    )


def refund_payment(envelope: Envelope[RefundPayment]) -> services.RefundAnswer:
    """Give back what the order was charged: as a compensation by the key of the step that it undoes."""
    is_compensation = envelope.direction == COMPENSATION
    return services.refund_payment(
        key=envelope.step_key,
        order_id=envelope.data.order_id,
        charge_key=envelope.action_key if is_compensation else None,
        is_retry=envelope.is_retry,
    )


def ask_about_refund(envelope: Envelope[RefundPayment]) -> Known:
    """Ask the gateway what it knows of this refund."""
    return services.ask_about_refund(key=envelope.step_key, order_id=envelope.data.order_id)


def record_refunds(answers: Sequence[tuple[Envelope[RefundPayment], services.RefundAnswer]]) -> list[Outcome]:
    """Write down the refunds; a charge that may still arrive is asked for again when it no longer can."""
    services.record_refunds(
        refunds=[
            (envelope.data.order_id, answer)
            for envelope, answer in answers
            if not isinstance(answer, services.TooEarly)
        ]
    )
    return [_tell_of_refund(envelope.data, answer) for envelope, answer in answers]


def _tell_of_refund(command: RefundPayment, answer: services.RefundAnswer) -> Outcome:
    match answer:
        case services.TooEarly(delay=delay):
            return Wait(delay=delay, reason="a charge without an answer may still arrive")
        case services.NothingToRefund():
            return PaymentRefunded(order_id=command.order_id, amount=0, currency=command.currency)
        case services.Refunded(charge=charge, refund=refund):
            return PaymentRefunded(
                order_id=command.order_id,
                amount=charge.amount,
                currency=charge.currency,
                reference=refund.reference,
            )


def receive_webhooks(envelopes: Sequence[Envelope[PaymentWebhookReceived]]) -> list[Dealt | None]:
    """Judge what a gateway has told us, and give back a charge that came too late."""
    return webhooks.apply_events(events=[envelope.data for envelope in envelopes])


def record_webhooks(answers: Sequence[tuple[Envelope[PaymentWebhookReceived], Dealt | None]]) -> list[Outcome]:
    """Write down what became of it; what our own rows do not say yet is looked at again."""
    parked = webhooks.record_events(dealt=[(envelope.data, dealt) for envelope, dealt in answers])
    return [Wait(delay=PARKED, reason="our own rows do not say so yet") if is_parked else None for is_parked in parked]


CONSUMER = Consumer(
    name="payments",
    handlers={
        ChargePayment: Effectful(
            call=charge_payment,
            record=record_charges,
            give_up=give_up_charge,
            policy=RetryPolicy(attempts=4, base=timedelta(milliseconds=500), cap=timedelta(seconds=5)),
            gateway="bank",
            calls=2,
            ask=ask_about_charge,
        ),
        # No way to give up: money that the gateway will not return is for a person to settle.
        RefundPayment: Effectful(
            call=refund_payment,
            record=record_refunds,
            policy=RetryPolicy(attempts=5, base=timedelta(milliseconds=500), cap=timedelta(seconds=15)),
            gateway="bank",
            calls=3,
            ask=ask_about_refund,
        ),
        PaymentWebhookReceived: Effectful(call_together=receive_webhooks, record=record_webhooks),
    },
)
