"""The only writer of shipping, in the two halves of every call: ask the carrier outside any transaction, then
record its answers in one.

Unknown is not failed. Between "sent" and "answered" nobody knows whether the carrier has the parcel. So a
parcel that got no answer is noted as unknown, retries ask by key first, and a cancellation that finds nothing
at the carrier believes it only when the last attempt to hand it over is old enough that it cannot arrive any
more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias
from uuid import UUID

import msgspec
from django.conf import settings
from django.db import connection

from outbox.consumers import Known, TransientError
from outbox.ledgers import Entry
from outbox.outside import NothingDone, UnforeseenAnswer
from shipping import carriers, selectors, sql
from shipping.carriers.protocol import ShipmentAnswer, ShipmentMade, ShipmentRequest
from shipping.contracts import Address
from shipping.models import Shipment

# A request that was given up after one time-out may lie in a queue on the way; after three it is lost.
_TIMEOUTS_UNTIL_LOST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class NothingOnItsWay:
    """The carrier has no live parcel with this key; without a key the order has none."""

    key: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TooEarly:
    """The carrier knows of no parcel yet, but one that got no answer may still arrive."""

    delay: timedelta


CancelAnswer: TypeAlias = NothingOnItsWay | TooEarly


def create_shipment(*, request: ShipmentRequest, is_retry: bool) -> ShipmentAnswer:
    """Hand over the parcel once, whatever became of earlier attempts with the same key.

    Raises: TransientError when the carrier gives no answer; the attempt is noted if it may have been carried
    out.
    """
    carrier = carriers.current()
    if is_retry:
        answer = carrier.look_up(key=request.key)
        if answer is not None:
            return answer
    try:
        return carrier.create(request)
    except NothingDone:
        raise
    except TransientError:
        _note_unknown(request=request, carrier=carrier.name)
        raise


def ask_about_shipment(*, key: str, order_id: UUID) -> Known:
    """Ask the carrier about a parcel and its order, for a person who waits. Raises: TransientError."""
    carrier = carriers.hurried()
    try:
        parcel = carrier.look_up(key=key)
    except UnforeseenAnswer:
        # It has the key, and not as a parcel on its way: its ledger says what became of it.
        return Known(
            has_key=True, is_done=False, answer="the parcel of this key was stopped", entries=_entries(order_id)
        )
    text = "no parcel is known under this key" if parcel is None else f"the parcel of this key is {parcel.tracking}"
    return Known(has_key=parcel is not None, is_done=parcel is not None, answer=text, entries=_entries(order_id))


def ask_about_cancellation(*, key: str, shipment_key: str | None, order_id: UUID) -> Known:
    """Ask the carrier whether the order's parcel was stopped, for a person who waits. Raises: TransientError."""
    about = ask_about_shipment(key=shipment_key or key, order_id=order_id)
    is_stopped = any(entry.kind == "cancellation" for entry in about.entries)
    text = "the order's parcel was stopped" if is_stopped else about.answer
    return Known(has_key=is_stopped, is_done=is_stopped, answer=text, entries=about.entries)


def _entries(order_id: UUID) -> list[Entry]:
    carrier = carriers.hurried()
    return carrier.entries(order_ids=[str(order_id)]) if carrier.keeps_ledger else []


def _note_unknown(*, request: ShipmentRequest, carrier: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql.NOTE_UNKNOWN, [request.key, request.order_id, carrier, _to_json(request.address)])


def _to_json(address: Address) -> str:
    return msgspec.json.encode(address).decode()


def record_shipments(*, shipments: Sequence[tuple[ShipmentRequest, ShipmentAnswer]]) -> None:
    """Write down what the carrier answered.

    Safe to call twice: the first record stays, unless it was "unknown".
    """
    rows = {
        request.key: (
            request.key,
            request.order_id,
            Shipment.Status.CREATED.value if isinstance(answer, ShipmentMade) else Shipment.Status.REFUSED.value,
            answer.carrier,
            answer.tracking if isinstance(answer, ShipmentMade) else "",
            "" if isinstance(answer, ShipmentMade) else answer.code,
            _to_json(request.address),
        )
        for request, answer in shipments
    }
    with connection.cursor() as cursor:
        cursor.execute(sql.RECORD_SHIPMENTS, [list(column) for column in zip(*rows.values(), strict=True)])


def cancel_shipment(*, order_id: UUID, shipment_key: str | None) -> CancelAnswer:
    """Stop the order's parcel. Safe to call twice, and when there is none.

    With `shipment_key` it is the parcel with that key, even when its answer was lost and only the carrier
    knows of it; without, it is the one recorded for the order. Raises: TransientError.
    """
    if shipment_key is not None and carriers.current().cancel(key=shipment_key):
        return NothingOnItsWay(key=shipment_key)
    shipment = (
        selectors.find_live_shipment(order_id=order_id)
        if shipment_key is None
        else selectors.find_shipment(key=shipment_key)
    )
    if shipment is None:
        return NothingOnItsWay(key=shipment_key)
    if shipment.status == Shipment.Status.UNKNOWN:
        # See "Unknown is not failed".
        lost_after = timedelta(seconds=_TIMEOUTS_UNTIL_LOST * settings.GATEWAY_TIMEOUT_SECONDS)
        rest = lost_after - selectors.find_age(key=shipment.key)
        if rest > timedelta():
            return TooEarly(delay=rest)
    elif shipment.status == Shipment.Status.CREATED:
        # Recorded for the order only, or taken by another carrier before the settings named the current one.
        carriers.named(shipment.carrier).cancel(key=shipment.key)
    return NothingOnItsWay(key=shipment.key)


def record_cancellations(*, answers: Sequence[NothingOnItsWay]) -> None:
    """Write down which parcels do not go out. Safe to call twice."""
    keys = [answer.key for answer in answers if answer.key is not None]
    with connection.cursor() as cursor:
        cursor.execute(sql.CANCEL_SHIPMENTS, [keys])
