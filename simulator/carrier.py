"""The simulated carrier: shipments by idempotency key, and their cancellation."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulator import wire
from simulator.faults import Control, Faults, Lateness
from simulator.ledger import Answer, Ledger
from simulator.wire import Refusal, render

SERVICE = "carrier"
MAX_ITEMS = 1000
_SHIPMENT = "carrier.shipment"
_REFUSED_COUNTRIES = {"AQ"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CarrierControl(Control):
    """The carrier's fault settings."""

    refuse_ratio: float = 0
    timeout_created_ratio: float = 0


class Carrier:
    """The carrier's calls."""

    def __init__(self, *, ledger: Ledger, hold_seconds: float) -> None:
        self._ledger = ledger
        self._faults = Faults(service=SERVICE, initial=CarrierControl(), ledger=ledger, hold_seconds=hold_seconds)

    def routes(self) -> list[Route]:
        """List the carrier's URLs, below its own prefix."""
        return [
            Route("/shipments", self.create_shipment, methods=["POST"]),
            Route("/shipments/{key}", self.find_shipment, methods=["GET"]),
            Route("/shipments/{key}/cancel", self.cancel_shipment, methods=["POST"]),
            *self._faults.routes(),
        ]

    async def create_shipment(self, request: Request) -> Response:
        """Take over a parcel once per key; a refusal is not remembered, the key may try another address."""
        key = wire.idempotency_key(request)
        body = await wire.read_object(request)
        shipment: dict[str, Any] = {
            "order_id": wire.identifier(body, "order_id"),
            "address": _read_address(body),
            "items": _read_items(body),
        }
        await self._faults.enter()
        await self._faults.wait_while_held()
        control = self._faults.control
        lateness = control.choose_lateness(key=key, done_ratio=control.timeout_created_ratio)
        outcome = self._ledger.once(
            scope=_SHIPMENT,
            key=key,
            request=shipment,
            silent_at_first=lateness is Lateness.SILENT,
            act=lambda: self._create(key, shipment["order_id"], shipment["address"]["country"]),
        )
        return await self._faults.deliver(request, outcome=outcome, lateness=lateness)

    def _create(self, key: str, order_id: str, country: str) -> Answer:
        control = self._faults.control
        refused = control.strikes(ratio=control.refuse_ratio, fault="refuse", key=key)
        if refused or country in _REFUSED_COUNTRIES:
            raise Refusal(422, "destination_refused", "the carrier does not deliver to this address")
        tracking = "SIM" + hashlib.blake2b(key.encode(), digest_size=8).hexdigest().upper()
        fact = {"key": key, "order_id": order_id, "tracking": tracking}
        self._ledger.enter(service=SERVICE, kind="shipment", subject=key, fact=fact)
        return Answer(201, render({"id": f"sh_{uuid4().hex}", **fact, "status": "created"}))

    async def find_shipment(self, request: Request) -> Response:
        """Answer with the shipment of a key and its present status, created or cancelled."""
        await self._faults.enter()
        return wire.respond(status=200, body=render(self._read_shipment(request.path_params["key"])))

    async def cancel_shipment(self, request: Request) -> Response:
        """Cancel the shipment of a key. Safe to repeat: one cancellation is entered."""
        await self._faults.enter()
        key = request.path_params["key"]
        with self._ledger.transaction():
            shipment = self._read_shipment(key)
            if shipment["status"] != "cancelled":
                fact = {name: shipment[name] for name in ("key", "order_id", "tracking")}
                self._ledger.enter(service=SERVICE, kind="cancellation", subject=key, fact=fact)
        return wire.respond(status=200, body=render({**shipment, "status": "cancelled"}))

    def _read_shipment(self, key: str) -> dict[str, Any]:
        intent = self._ledger.find_intent(scope=_SHIPMENT, key=key)
        if intent is None or intent.answer is None:
            raise Refusal(404, "no_such_shipment", "no shipment is known under this key")
        shipment: dict[str, Any] = json.loads(intent.answer.body)
        cancellations, _ = self._ledger.count_and_total(service=SERVICE, kind="cancellation", subject=key)
        return {**shipment, "status": "cancelled"} if cancellations else shipment


def _read_address(body: dict[str, Any]) -> dict[str, str]:
    address = body.get("address")
    if not isinstance(address, dict):
        raise Refusal(400, "bad_field", "address must be an object")
    texts = {name: wire.text(address, name) for name in ("name", "line1", "city", "postal_code")}
    return {**texts, "country": wire.country(address)}


def _read_items(body: dict[str, Any]) -> list[dict[str, Any]]:
    items = body.get("items")
    if not isinstance(items, list) or not 0 < len(items) <= MAX_ITEMS:
        raise Refusal(400, "bad_field", f"items must be a list of 1 to {MAX_ITEMS}")
    if not all(isinstance(item, dict) for item in items):
        raise Refusal(400, "bad_field", "every item must be an object")
    return [{"sku": wire.text(item, "sku"), "quantity": wire.whole(item, "quantity")} for item in items]
