"""The simulated bank: charges and refunds over HTTP, named by an Idempotency-Key."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from outbox.outside import HttpService, UnforeseenAnswer
from payments.gateways.protocol import (
    ChargeAnswer,
    ChargeDeclined,
    ChargeMade,
    ChargeRequest,
    RefundMade,
    RefundRefused,
    RefundRequest,
)


class _Answer(msgspec.Struct, frozen=True):
    """Any answer of the bank: what it did, or why not."""

    id: str = ""
    key: str = ""
    status: str = ""
    amount: int = 0
    currency: str = ""
    code: str = ""
    detail: str = ""


class SimulatedBank:
    """Speaks the simulated bank's protocol."""

    name = "simulated"

    def __init__(self, *, base_url: str, timeout_seconds: float) -> None:
        self._service = HttpService(name="bank", base_url=base_url, timeout_seconds=timeout_seconds)

    def charge(self, request: ChargeRequest) -> ChargeAnswer:
        """Take money once per key."""
        status, answer = self._service.call(
            operation="charge",
            method="POST",
            path="/charges",
            answer_type=_Answer,
            key=request.key,
            body={
                "order_id": str(request.order_id),
                "amount": request.amount,
                "currency": request.currency,
                "payment_method": request.payment_method,
            },
        )
        if status in (HTTPStatus.CREATED, HTTPStatus.PAYMENT_REQUIRED):
            return self._read_charge(answer)
        raise _unforeseen(status, answer)

    def look_up(self, *, key: str) -> ChargeAnswer | None:
        """Return what became of the charge with this key."""
        status, answer = self._service.call(
            operation="look_up", method="GET", path=f"/charges/{key}", answer_type=_Answer
        )
        if status == HTTPStatus.OK:
            return self._read_charge(answer)
        if status == HTTPStatus.NOT_FOUND:
            return None
        raise _unforeseen(status, answer)

    def refund(self, request: RefundRequest) -> RefundMade:
        """Give money back once per key."""
        status, answer = self._service.call(
            operation="refund",
            method="POST",
            path="/refunds",
            answer_type=_Answer,
            key=request.key,
            body={
                "order_id": str(request.order_id),
                "charge_key": request.charge_key,
                "amount": request.amount,
                "currency": request.currency,
            },
        )
        if status == HTTPStatus.CREATED:
            return RefundMade(key=request.key, reference=answer.id)
        if status == HTTPStatus.PAYMENT_REQUIRED:
            raise RefundRefused(f"{answer.code}: {answer.detail}")
        raise _unforeseen(status, answer)

    def look_up_refund(self, *, key: str) -> RefundMade | None:
        """Return the refund with this key."""
        status, answer = self._service.call(
            operation="look_up_refund", method="GET", path=f"/refunds/{key}", answer_type=_Answer
        )
        if status == HTTPStatus.OK:
            return RefundMade(key=key, reference=answer.id)
        if status == HTTPStatus.NOT_FOUND:
            return None
        raise _unforeseen(status, answer)

    def _read_charge(self, answer: _Answer) -> ChargeAnswer:
        if answer.status == "succeeded":
            return ChargeMade(
                gateway=self.name,
                key=answer.key,
                amount=answer.amount,
                currency=answer.currency,
                reference=answer.id,
            )
        return ChargeDeclined(gateway=self.name, key=answer.key, code=answer.code, detail=answer.detail)


def _unforeseen(status: int, answer: _Answer) -> UnforeseenAnswer:
    return UnforeseenAnswer(f"the bank answered {status} {answer.code}: {answer.detail}")
