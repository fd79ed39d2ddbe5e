"""The simulated bank: charges and refunds over HTTP, named by an Idempotency-Key."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import msgspec

from outbox.ledgers import Entry
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

# A page of the ledger takes longer than a call; but other sweeps wait behind the one that reads it.
LEDGER_SECONDS = 5.0


class _Answer(msgspec.Struct, frozen=True):
    """Any answer of the bank: what it did, or why not."""

    id: str = ""
    key: str = ""
    status: str = ""
    amount: int = 0
    currency: str = ""
    code: str = ""
    detail: str = ""


class _Line(msgspec.Struct, frozen=True):
    """A line of the bank's ledger."""

    key: str
    order_id: str
    kind: str
    amount: int
    currency: str
    at: datetime


class SimulatedBank:
    """Speaks the simulated bank's protocol."""

    name = "simulated"
    keeps_ledger = True

    def __init__(self, *, base_url: str, timeout_seconds: float, ledger_seconds: float = LEDGER_SECONDS) -> None:
        self._service = HttpService(name="bank", base_url=base_url, timeout_seconds=timeout_seconds)
        patience = max(timeout_seconds, ledger_seconds)
        self._ledger = HttpService(name="bank", base_url=base_url, timeout_seconds=patience)

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
            operation="look_up", method="GET", path=f"/charges/{key}", about=key, answer_type=_Answer
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
            operation="look_up_refund", method="GET", path=f"/refunds/{key}", about=key, answer_type=_Answer
        )
        if status == HTTPStatus.OK:
            return RefundMade(key=key, reference=answer.id)
        if status == HTTPStatus.NOT_FOUND:
            return None
        raise _unforeseen(status, answer)

    def entries(
        self, *, since: datetime | None = None, limit: int | None = None, order_ids: Sequence[str] = ()
    ) -> list[Entry]:
        """Return what the bank has entered."""
        query: list[tuple[str, Any]] = [("order_id", order_id) for order_id in order_ids]
        query += [] if since is None else [("since", since.isoformat())]
        query += [] if limit is None else [("limit", limit)]
        status, answer = self._ledger.call(
            operation="ledger",
            method="GET",
            path=f"/ledger?{urlencode(query)}",
            answer_type=list[_Line],
            minds_breaker=False,
        )
        if status == HTTPStatus.OK:
            return [Entry(**msgspec.structs.asdict(line)) for line in answer]
        raise UnforeseenAnswer(f"the bank answered {status} to a look at its ledger")

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
