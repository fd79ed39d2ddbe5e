"""The only writer of payments, in the two halves of every call: ask the gateway outside any transaction, then
record its answers in one.

Unknown is not failed. Between "sent" and "answered" nobody knows whether money was taken. So a charge that
got no answer is noted as unknown, retries ask by key first, and a refund that finds nothing at the gateway
believes it only when the last attempt to charge is old enough that it cannot arrive any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias
from uuid import UUID

from django.conf import settings
from django.db import connection

from outbox.consumers import Known, TransientError
from outbox.ledgers import Entry
from outbox.money import to_text
from outbox.outside import NothingDone
from payments import gateways, selectors, sql
from payments.gateways.protocol import (
    ChargeAnswer,
    ChargeMade,
    ChargeRequest,
    Gateway,
    RefundMade,
    RefundRequest,
)
from payments.models import Payment

# A request that was given up after one time-out may lie in a queue on the way; after three it is lost.
_TIMEOUTS_UNTIL_LOST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Refunded:
    """The gateway has given a charge back."""

    charge: ChargeMade
    refund: RefundMade


@dataclass(frozen=True, slots=True, kw_only=True)
class NothingToRefund:
    """The gateway keeps no money: the charge with this key was never made, was declined, or is given back."""

    charge_key: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TooEarly:
    """The gateway knows of no charge yet, but one that got no answer may still arrive."""

    delay: timedelta


RefundAnswer: TypeAlias = Refunded | NothingToRefund | TooEarly


class LedgersDisagree(Exception):
    """The gateway gave back money for a charge that is recorded as declined."""


def charge_payment(*, request: ChargeRequest, is_retry: bool) -> ChargeAnswer:
    """Take the money once, whatever became of earlier attempts with the same key.

    Raises: TransientError when the gateway gives no answer; the attempt is noted if it may have been carried
    out.
    """
    gateway = gateways.current()
    if is_retry:
        answer = gateway.look_up(key=request.key)
        if answer is not None:
            return answer
    try:
        return gateway.charge(request)
    except NothingDone:
        raise
    except TransientError:
        _note_unknown(request=request, gateway=gateway.name)
        raise


def ask_about_charge(*, key: str, order_id: UUID) -> Known:
    """Ask the gateway about a charge and its order, for a person who waits. Raises: TransientError."""
    gateway = gateways.hurried()
    answer = gateway.look_up(key=key)
    entries = _entries(gateway, order_id)
    if answer is None:
        return Known(has_key=False, is_done=False, answer="no charge is known under this key", entries=entries)
    if isinstance(answer, ChargeMade):
        amount = to_text(minor_units=answer.amount, currency=answer.currency)
        text = f"{amount} {answer.currency} was charged under this key: {answer.reference}"
        return Known(has_key=True, is_done=True, answer=text, entries=entries)
    text = f"the charge under this key was declined: {answer.code}"
    return Known(has_key=True, is_done=False, answer=text, entries=entries)


def ask_about_refund(*, key: str, order_id: UUID) -> Known:
    """Ask the gateway about a refund and its order, for a person who waits. Raises: TransientError."""
    gateway = gateways.hurried()
    refund = gateway.look_up_refund(key=key)
    entries = _entries(gateway, order_id)
    text = "no refund is known under this key" if refund is None else f"refunded under this key: {refund.reference}"
    return Known(has_key=refund is not None, is_done=refund is not None, answer=text, entries=entries)


def _entries(gateway: Gateway, order_id: UUID) -> list[Entry]:
    return gateway.entries(order_ids=[str(order_id)]) if gateway.keeps_ledger else []


def _note_unknown(*, request: ChargeRequest, gateway: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql.NOTE_UNKNOWN, [request.key, request.order_id, request.amount, request.currency, gateway])


def record_charges(*, charges: Sequence[tuple[ChargeRequest, ChargeAnswer]]) -> None:
    """Write down what the gateway answered.

    Safe to call twice: the first record stays, unless it was "unknown".
    """
    rows = {
        request.key: (
            request.key,
            request.order_id,
            request.amount,
            request.currency,
            Payment.Status.CHARGED.value if isinstance(answer, ChargeMade) else Payment.Status.DECLINED.value,
            answer.gateway,
            answer.reference if isinstance(answer, ChargeMade) else "",
            "" if isinstance(answer, ChargeMade) else answer.code,
        )
        for request, answer in charges
    }
    with connection.cursor() as cursor:
        cursor.execute(sql.RECORD_CHARGES, [list(column) for column in zip(*rows.values(), strict=True)])
        cursor.execute(sql.APPLY_PARKED, [list(rows)])


def refund_payment(*, key: str, order_id: UUID, charge_key: str | None, is_retry: bool) -> RefundAnswer:
    """Give back all that was taken for the order, once.

    With `charge_key` it is the charge with that key, even when its answer was lost and only the gateway knows
    of it; without, it is the charge recorded for the order. Raises: TransientError, among them RefundRefused.
    """
    charge = _find_charge_of_order(order_id=order_id) if charge_key is None else _find_charge(key=charge_key)
    if not isinstance(charge, ChargeMade):
        return charge
    gateway = gateways.named(charge.gateway)
    refund = gateway.look_up_refund(key=key) if is_retry else None
    if refund is None:
        refund = gateway.refund(
            RefundRequest(
                key=key,
                charge_key=charge.key,
                order_id=order_id,
                amount=charge.amount,
                currency=charge.currency,
            )
        )
    return Refunded(charge=charge, refund=refund)


def _find_charge_of_order(*, order_id: UUID) -> ChargeMade | NothingToRefund:
    payment = selectors.find_charged_payment(order_id=order_id)
    return NothingToRefund(charge_key=None) if payment is None else _recall(payment=payment)


def _find_charge(*, key: str) -> ChargeMade | NothingToRefund | TooEarly:
    answer = gateways.current().look_up(key=key)
    if isinstance(answer, ChargeMade):
        return answer
    payment = selectors.find_payment(key=key) if answer is None else None
    if payment is not None and payment.status == Payment.Status.CHARGED:
        # Another gateway took it, before the settings named the current one.
        return _recall(payment=payment)
    if payment is not None and payment.status == Payment.Status.UNKNOWN:
        # See "Unknown is not failed".
        lost_after = timedelta(seconds=_TIMEOUTS_UNTIL_LOST * settings.GATEWAY_TIMEOUT_SECONDS)
        rest = lost_after - selectors.find_age(key=key)
        if rest > timedelta():
            return TooEarly(delay=rest)
    return NothingToRefund(charge_key=key)


def _recall(*, payment: Payment) -> ChargeMade:
    return ChargeMade(
        gateway=payment.gateway,
        key=payment.key,
        amount=payment.amount,
        currency=payment.currency,
        reference=payment.reference,
    )


def record_refunds(*, refunds: Sequence[tuple[UUID, Refunded | NothingToRefund]]) -> int:
    """Write down what was given back for each order id, and which charges turned out never to have been made.

    Returns how many refunds were not recorded before. Safe to call twice. Raises: LedgersDisagree when a charge is
    recorded as declined.
    """
    made = {answer.refund.key: (order_id, answer) for order_id, answer in refunds if isinstance(answer, Refunded)}
    void = [
        answer.charge_key
        for _, answer in refunds
        if isinstance(answer, NothingToRefund) and answer.charge_key is not None
    ]
    new = 0
    with connection.cursor() as cursor:
        if made:
            charges = [
                (
                    a.charge.key,
                    order_id,
                    a.charge.amount,
                    a.charge.currency,
                    a.charge.gateway,
                    a.charge.reference,
                )
                for order_id, a in made.values()
            ]
            cursor.execute(sql.MARK_REFUNDED, [list(column) for column in zip(*charges, strict=True)])
            if cursor.rowcount != len(charges):
                raise LedgersDisagree([key for key, *_ in charges])
            rows = [
                (a.refund.key, a.charge.key, order_id, a.charge.amount, a.charge.currency, a.refund.reference)
                for order_id, a in made.values()
            ]
            cursor.execute(sql.RECORD_REFUNDS, [list(column) for column in zip(*rows, strict=True)])
            new = cursor.rowcount
        if void:
            cursor.execute(sql.MARK_VOID, [void])
    return new
