"""The simulated bank: charges and refunds by idempotency key, and the misbehavior a payment method names.

A payment method that names a fault does exactly that; the shares set through the control are shares of the
charges by `pm_card_visa`.
"""

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulator import wire
from simulator.faults import Control, Faults, Lateness
from simulator.ledger import Answer, Ledger
from simulator.webhooks import Webhooks
from simulator.wire import Refusal, render

SERVICE = "bank"
_CHARGE = "bank.charge"
_REFUND = "bank.refund"

_SUCCEEDS = "pm_card_visa"
_DECLINES = "pm_card_visa_chargeDeclined"
_UNAVAILABLE = "pm_sim_unavailable"
_REFUND_REFUSED = "pm_sim_refund_refused"
_LATE = {
    "pm_sim_timeout_charged": Lateness.AFTERWARDS,
    "pm_sim_timeout_not_charged": Lateness.SILENT,
}
# What a webhook calls an entry.
_TOLD = {"charge": "charged", "refund": "refunded"}
_KNOWN = {_SUCCEEDS, _DECLINES, _UNAVAILABLE, _REFUND_REFUSED, *_LATE}


@dataclass(frozen=True, slots=True, kw_only=True)
class BankControl(Control):
    """The bank's fault settings."""

    decline_ratio: float = 0
    timeout_charged_ratio: float = 0
    refund_refuse_ratio: float = 0
    webhook_copies: int = 1
    webhook_delay_ms: float = 0
    webhook_hold: bool = False
    webhook_newest_first: bool = False


class Bank:
    """The bank's calls."""

    def __init__(self, *, ledger: Ledger, hold_seconds: float, webhooks: Webhooks | None = None) -> None:
        self._ledger = ledger
        self._webhooks = webhooks
        self._faults = Faults(service=SERVICE, initial=BankControl(), ledger=ledger, hold_seconds=hold_seconds)

    def routes(self) -> list[Route]:
        """List the bank's URLs, below its own prefix."""
        return [
            Route("/charges", self.charge, methods=["POST"]),
            Route("/charges/{key}", self.find_charge, methods=["GET"]),
            Route("/refunds", self.refund, methods=["POST"]),
            Route("/refunds/{key}", self.find_refund, methods=["GET"]),
            Route("/disputes", self.dispute, methods=["POST"]),
            *self._faults.routes(),
        ]

    @property
    def control(self) -> BankControl:
        """The fault settings as they are now."""
        return self._faults.control

    async def charge(self, request: Request) -> Response:
        """Charge an order once per key; a decline is an answer like any other and is repeated too."""
        key = wire.idempotency_key(request)
        body = await wire.read_object(request)
        charge = {**_read_money(body), "payment_method": wire.text(body, "payment_method")}
        await self._faults.enter()
        await self._faults.wait_while_held()
        lateness = self._choose_lateness(key, charge["payment_method"])
        outcome = self._ledger.once(
            scope=_CHARGE,
            key=key,
            request=charge,
            silent_at_first=lateness is Lateness.SILENT,
            act=lambda: self._charge(key, **charge),
        )
        return await self._faults.deliver(request, outcome=outcome, lateness=lateness)

    def _choose_lateness(self, key: str, payment_method: str) -> Lateness:
        if payment_method != _SUCCEEDS:
            return _LATE.get(payment_method, Lateness.PROMPT)
        control = self._faults.control
        return control.choose_lateness(key=key, done_ratio=control.timeout_charged_ratio)

    def _charge(self, key: str, payment_method: str, **money: Any) -> Answer:
        if payment_method == _UNAVAILABLE:
            raise Refusal(503, "unavailable", "this payment method's network is down", retry_after=1)
        charge = {"id": f"ch_{uuid4().hex}", "key": key, **money}
        if payment_method not in _KNOWN:
            reason = {
                "code": "unknown_payment_method",
                "detail": "the bank does not know this payment method",
            }
            return Answer(402, render({**charge, "status": "declined", **reason}))
        if self._declines(key, payment_method):
            reason = {"code": "card_declined", "detail": "the card was declined"}
            return Answer(402, render({**charge, "status": "declined", **reason}))
        self._enter("charge", subject=key, fact={"key": key, **money})
        return Answer(201, render({**charge, "status": "succeeded"}))

    def _declines(self, key: str, payment_method: str) -> bool:
        if payment_method != _SUCCEEDS:
            return payment_method == _DECLINES
        control = self._faults.control
        return control.strikes(ratio=control.decline_ratio, fault="decline", key=key)

    async def refund(self, request: Request) -> Response:
        """Refund all or part of a charge once per key; refusals are not remembered, a retry asks anew."""
        key = wire.idempotency_key(request)
        body = await wire.read_object(request)
        refund = {**_read_money(body), "charge_key": wire.identifier(body, "charge_key")}
        await self._faults.enter()
        outcome = self._ledger.once(
            scope=_REFUND,
            key=key,
            request=refund,
            silent_at_first=False,
            act=lambda: self._refund(key, **refund),
        )
        return await self._faults.deliver(request, outcome=outcome, lateness=Lateness.PROMPT)

    def _refund(self, key: str, charge_key: str, **money: Any) -> Answer:
        charge = self._find_money_taken(charge_key)
        if any(charge[name] != money[name] for name in ("order_id", "currency")):
            raise Refusal(422, "charge_mismatch", "the charge is of another order or in another currency")
        if self._refuses_refund(charge_key, charge["payment_method"]):
            raise Refusal(402, "refund_refused", "the bank refuses to refund this charge")
        _, refunded = self._ledger.count_and_total(service=SERVICE, kind="refund", subject=charge_key)
        if refunded + money["amount"] > charge["amount"]:
            raise Refusal(422, "over_refund", f"{refunded} of {charge['amount']} is refunded already")
        self._enter("refund", subject=charge_key, fact={"key": key, **money})
        refund = {"id": f"re_{uuid4().hex}", "key": key, "charge_key": charge_key, **money}
        return Answer(201, render({**refund, "status": "succeeded"}))

    def _enter(self, kind: str, *, subject: str, fact: dict[str, Any]) -> None:
        entry = self._ledger.enter(service=SERVICE, kind=kind, subject=subject, fact=fact)
        if self._webhooks is not None:
            self._webhooks.tell(event_type=_TOLD[kind], fact=entry)

    async def dispute(self, request: Request) -> Response:
        """Let a customer dispute the charge named by `charge_key`; only a webhook tells of it, no entry does."""
        body = await wire.read_object(request)
        entry = self._ledger.find_charge_entry(service=SERVICE, key=wire.identifier(body, "charge_key"))
        if entry is None:
            raise Refusal(404, "no_such_charge", "no money was taken under this key")
        if self._webhooks is not None:
            self._webhooks.tell(event_type="disputed", fact=entry)
        return wire.respond(status=201, body=render({"status": "disputed", "charge_key": entry["key"]}))

    def _find_money_taken(self, charge_key: str) -> dict[str, Any]:
        intent = self._ledger.find_intent(scope=_CHARGE, key=charge_key)
        if intent is None or intent.answer is None or intent.answer.status != HTTPStatus.CREATED:
            raise Refusal(404, "no_such_charge", "no money was taken under this key")
        charge: dict[str, Any] = json.loads(intent.request)
        return charge

    def _refuses_refund(self, charge_key: str, payment_method: str) -> bool:
        if payment_method != _SUCCEEDS:
            return payment_method == _REFUND_REFUSED
        control = self._faults.control
        # By the charge, not by the refund's key: a new key does not soften a bank that refuses for good.
        return control.strikes(ratio=control.refund_refuse_ratio, fault="refund", key=charge_key)

    async def find_charge(self, request: Request) -> Response:
        """Answer with the charge of a key, succeeded or declined."""
        return await self._find(request, scope=_CHARGE, missing="no_such_charge")

    async def find_refund(self, request: Request) -> Response:
        """Answer with the refund of a key."""
        return await self._find(request, scope=_REFUND, missing="no_such_refund")

    async def _find(self, request: Request, *, scope: str, missing: str) -> Response:
        await self._faults.enter()
        intent = self._ledger.find_intent(scope=scope, key=request.path_params["key"])
        if intent is None or intent.answer is None:
            raise Refusal(404, missing, "nothing is known under this key")
        return wire.respond(status=200, body=intent.answer.body)


def _read_money(body: dict[str, Any]) -> dict[str, Any]:
    return {
        "order_id": wire.identifier(body, "order_id"),
        "amount": wire.whole(body, "amount"),
        "currency": wire.currency(body),
    }
