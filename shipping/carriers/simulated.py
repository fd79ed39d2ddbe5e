"""The simulated carrier: parcels over HTTP, named by an Idempotency-Key."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from outbox.outside import HttpService, UnforeseenAnswer
from shipping.carriers.protocol import ShipmentAnswer, ShipmentMade, ShipmentRefused, ShipmentRequest


class _Answer(msgspec.Struct, frozen=True):
    """Any answer of the carrier: what it did, or why not."""

    status: str = ""
    tracking: str = ""
    code: str = ""
    detail: str = ""


class SimulatedCarrier:
    """Speaks the simulated carrier's protocol."""

    name = "simulated"

    def __init__(self, *, base_url: str, timeout_seconds: float) -> None:
        self._service = HttpService(name="carrier", base_url=base_url, timeout_seconds=timeout_seconds)

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
            operation="look_up", method="GET", path=f"/shipments/{key}", answer_type=_Answer
        )
        if status == HTTPStatus.OK and answer.status == "created":
            return ShipmentMade(carrier=self.name, tracking=answer.tracking)
        if status == HTTPStatus.NOT_FOUND:
            return None
        raise _unforeseen(status, answer)

    def cancel(self, *, key: str) -> bool:
        """Stop the parcel with this key."""
        status, answer = self._service.call(
            operation="cancel", method="POST", path=f"/shipments/{key}/cancel", answer_type=_Answer
        )
        if status in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
            return status == HTTPStatus.OK
        raise _unforeseen(status, answer)


def _unforeseen(status: int, answer: _Answer) -> UnforeseenAnswer:
    return UnforeseenAnswer(f"the carrier answered {status} {answer.status or answer.code}: {answer.detail}")
