"""The simulated carrier: parcels over HTTP, named by an Idempotency-Key."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import msgspec

from outbox.ledgers import Entry
from outbox.outside import HttpService, UnforeseenAnswer
from shipping.carriers.protocol import ShipmentAnswer, ShipmentMade, ShipmentRefused, ShipmentRequest

# A page of the ledger takes longer than a call; but other sweeps wait behind the one that reads it.
LEDGER_SECONDS = 5.0


class _Answer(msgspec.Struct, frozen=True):
    """Any answer of the carrier: what it did, or why not."""

    status: str = ""
    tracking: str = ""
    code: str = ""
    detail: str = ""


class _Line(msgspec.Struct, frozen=True):
    """A line of the carrier's ledger."""

    key: str
    order_id: str
    kind: str
    at: datetime


class SimulatedCarrier:
    """Speaks the simulated carrier's protocol."""

    name = "simulated"
    keeps_ledger = True

    def __init__(self, *, base_url: str, timeout_seconds: float, ledger_seconds: float = LEDGER_SECONDS) -> None:
        self._service = HttpService(name="carrier", base_url=base_url, timeout_seconds=timeout_seconds)
        patience = max(timeout_seconds, ledger_seconds)
        self._ledger = HttpService(name="carrier", base_url=base_url, timeout_seconds=patience)

    def create(self, request: ShipmentRequest) -> ShipmentAnswer:
        """Hand over one parcel per key."""
        status, answer = self._service.call(
            operation="create",
            method="POST",
            path="/shipments",
            answer_type=_Answer,
            key=request.key,
            body={
                "order_id": str(request.order_id),
                "address": msgspec.to_builtins(request.address),
                "items": msgspec.to_builtins(request.lines),
            },
        )
        if status == HTTPStatus.CREATED:
            return ShipmentMade(carrier=self.name, tracking=answer.tracking)
        if status == HTTPStatus.UNPROCESSABLE_ENTITY:
            return ShipmentRefused(carrier=self.name, code=answer.code, detail=answer.detail)
        raise _unforeseen(status, answer)

    def look_up(self, *, key: str) -> ShipmentMade | None:
        """Return the parcel with this key."""
        status, answer = self._service.call(
            operation="look_up", method="GET", path=f"/shipments/{key}", about=key, answer_type=_Answer
        )
        if status == HTTPStatus.OK and answer.status == "created":
            return ShipmentMade(carrier=self.name, tracking=answer.tracking)
        if status == HTTPStatus.NOT_FOUND:
            return None
        raise _unforeseen(status, answer)

    def cancel(self, *, key: str) -> bool:
        """Stop the parcel with this key."""
        status, answer = self._service.call(
            operation="cancel", method="POST", path=f"/shipments/{key}/cancel", about=key, answer_type=_Answer
        )
        if status in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
            return status == HTTPStatus.OK
        raise _unforeseen(status, answer)

    def entries(
        self, *, since: datetime | None = None, limit: int | None = None, order_ids: Sequence[str] = ()
    ) -> list[Entry]:
        """Return what the carrier has entered."""
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
        raise UnforeseenAnswer(f"the carrier answered {status} to a look at its ledger")


def _unforeseen(status: int, answer: _Answer) -> UnforeseenAnswer:
    return UnforeseenAnswer(f"the carrier answered {status} {answer.status or answer.code}: {answer.detail}")
