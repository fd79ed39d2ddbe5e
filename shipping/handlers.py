"""What shipping does with a message: ask the carrier by the step's key, then record the batch of answers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from outbox.consumers import Consumer, Effectful, Known, Outcome, RetryPolicy, Wait
from outbox.contracts import COMPENSATION, Envelope
from shipping import services
from shipping.carriers.protocol import ShipmentAnswer, ShipmentMade, ShipmentRequest
from shipping.contracts import (
    CancelShipment,
    CreateShipment,
    ShipmentCancelled,
    ShipmentCreated,
    ShipmentFailed,
)


def create_shipment(envelope: Envelope[CreateShipment]) -> ShipmentAnswer:
    """Hand over the order's parcel; on a retry, only after asking whether the carrier has it already."""
    return services.create_shipment(request=_shipment_request(envelope), is_retry=envelope.is_retry)


def record_shipments(answers: Sequence[tuple[Envelope[CreateShipment], ShipmentAnswer]]) -> list[Outcome]:
    """Write down the answers and say which parcel is on its way and which was refused."""
    services.record_shipments(shipments=[(_shipment_request(envelope), answer) for envelope, answer in answers])
    return [
        ShipmentCreated(order_id=envelope.data.order_id, tracking=answer.tracking)
        if isinstance(answer, ShipmentMade)
        else ShipmentFailed(
            order_id=envelope.data.order_id,
            reason="shipping_refused",
            detail=f"{answer.code}: {answer.detail}",
        )
        for envelope, answer in answers
    ]


def give_up_shipment(envelope: Envelope[CreateShipment], error: str) -> ShipmentFailed:
    """Say that the parcel was not taken in time, as far as we know: it is stopped by key all the same."""
    return ShipmentFailed(order_id=envelope.data.order_id, reason="shipping_unavailable", detail=error, definite=False)


def ask_about_shipment(envelope: Envelope[CreateShipment]) -> Known:
    """Ask the carrier what it knows of this parcel."""
    return services.ask_about_shipment(key=envelope.step_key, order_id=envelope.data.order_id)


def _shipment_request(envelope: Envelope[CreateShipment]) -> ShipmentRequest:
    command = envelope.data
    return ShipmentRequest(
        key=envelope.step_key, order_id=command.order_id, address=command.address, lines=command.lines
    )


def cancel_shipment(envelope: Envelope[CancelShipment]) -> services.CancelAnswer:
    """Stop the order's parcel: as a compensation by the key of the step that it undoes."""
    is_compensation = envelope.direction == COMPENSATION
    return services.cancel_shipment(
        order_id=envelope.data.order_id,
        shipment_key=envelope.action_key if is_compensation else None,
    )


def ask_about_cancellation(envelope: Envelope[CancelShipment]) -> Known:
    """Ask the carrier whether this parcel was stopped."""
    is_compensation = envelope.direction == COMPENSATION
    return services.ask_about_cancellation(
        key=envelope.step_key,
        shipment_key=envelope.action_key if is_compensation else None,
        order_id=envelope.data.order_id,
    )


def record_cancellations(
    answers: Sequence[tuple[Envelope[CancelShipment], services.CancelAnswer]],
) -> list[Outcome]:
    """Write down what was stopped; a parcel that may still arrive is asked for again once it cannot."""
    stopped = [answer for _, answer in answers if isinstance(answer, services.NothingOnItsWay)]
    services.record_cancellations(answers=stopped)
    return [
        Wait(delay=answer.delay, reason="a parcel without an answer may still arrive")
        if isinstance(answer, services.TooEarly)
        else ShipmentCancelled(order_id=envelope.data.order_id)
        for envelope, answer in answers
    ]


CONSUMER = Consumer(
    name="shipping",
    handlers={
        CreateShipment: Effectful(
            call=create_shipment,
            record=record_shipments,
            give_up=give_up_shipment,
            policy=RetryPolicy(attempts=4, base=timedelta(milliseconds=500), cap=timedelta(seconds=5)),
            gateway="carrier",
            calls=2,
            ask=ask_about_shipment,
        ),
        # No way to give up: a parcel that cannot be stopped is for a person to settle.
        CancelShipment: Effectful(
            call=cancel_shipment,
            record=record_cancellations,
            policy=RetryPolicy(attempts=5, base=timedelta(milliseconds=500), cap=timedelta(seconds=15)),
            gateway="carrier",
            calls=2,
            ask=ask_about_cancellation,
        ),
    },
)
