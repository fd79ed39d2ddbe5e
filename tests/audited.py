"""A small shop whose books are in order, with the ledgers of its bank and carrier: a test puts one thing wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

import httpx
import pytest
import respx
from pytest_django import Settings

from config.audit import Finding
from orders.models import Order
from orders.services import request_return
from payments.models import Payment, Refund
from sagas.models import SagaInstance
from shipping.carriers.instant import InstantCarrier
from shipping.carriers.protocol import ShipmentRefused
from shipping.models import Shipment
from tests.factories.inventory import stocked
from tests.factories.orders import checkout, customer, price
from tests.messaging import drain, execute, refill_bucket, waiting

LONG_AGO = timedelta(hours=2)


@dataclass
class Books:
    """The orders of the shop, one of each end, and what bank and carrier have in their own books."""

    confirmed: UUID
    cancelled: UUID
    returned: UUID
    bank: list[dict[str, Any]] = field(default_factory=list)
    carrier: list[dict[str, Any]] = field(default_factory=list)
    are_shown: bool = True

    def saga(self, order_id: UUID, name: str = "order-fulfilment") -> SagaInstance:
        """Return an order's saga."""
        return SagaInstance.objects.get(key=order_id, name=name)

    def entry(self, source: list[dict[str, Any]], order_id: UUID, kind: str) -> dict[str, Any]:
        """Return a line of a ledger, to be changed or removed."""
        [found] = [line for line in source if line["order_id"] == str(order_id) and line["kind"] == kind]
        return found

    def say_nothing(self, order_id: UUID, *types: str) -> None:
        """Take what was said out of the log, as nobody can in earnest."""
        execute("ALTER TABLE outbox_message DISABLE TRIGGER outbox_append_only")
        execute("DELETE FROM outbox_message WHERE ordering_key = %s AND type = ANY(%s)", order_id, list(types))
        execute("ALTER TABLE outbox_message ENABLE ALWAYS TRIGGER outbox_append_only")


def found(report: Any) -> list[tuple[str, str, str]]:
    """Return invariant, rule and key of each finding, in order."""
    findings: tuple[Finding, ...] = report.findings
    return sorted({(finding.invariant, finding.says, finding.key) for finding in findings})


def line(kind: str, key: str, order_id: object, **more: Any) -> dict[str, Any]:
    """Return an entry of a ledger that is old enough to be judged."""
    at = datetime.now(UTC) - LONG_AGO
    return {"kind": kind, "key": key, "order_id": str(order_id), "at": at.isoformat(), **more}


def money(kind: str, key: str, order_id: object, amount: int, currency: str = "EUR") -> dict[str, Any]:
    """Return an entry of the bank's ledger."""
    return line(kind, key, order_id, amount=amount, currency=currency)


@pytest.fixture
def books(transactional_db: None, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Books]:
    """Run three orders through the real contexts to their ends, and lay bank and carrier's ledgers beside."""
    settings.PAYMENT_GATEWAY = settings.CARRIER = "instant"
    settings.NOTIFICATIONS_ADDRESS_BOOK = "tests.audited.everybody"
    refill_bucket(1000)
    price("MUG")
    stocked("MUG", on_hand=100)
    create = InstantCarrier.create

    def refuse_five(self: InstantCarrier, request: Any) -> Any:
        if sum(line.quantity for line in request.lines) == 5:
            return ShipmentRefused(carrier="instant", code="no_route", detail="nobody goes there")
        return create(self, request)

    monkeypatch.setattr(InstantCarrier, "create", refuse_five)
    buyer = customer()
    ids = [UUID(buyer.post("orders", checkout(("MUG", many))).json()["id"]) for many in (2, 5, 3)]
    drain()
    request_return(order_id=ids[2], customer_id=buyer.id)
    drain()
    assert list(Order.objects.order_by("id").values_list("status", flat=True)) == ["CONFIRMED", "CANCELLED", "RETURNED"]
    assert waiting() == []
    confirmed, cancelled, returned = ids
    shop = Books(confirmed, cancelled, returned)
    settings.PAYMENT_GATEWAY = settings.CARRIER = "simulated"
    _mirror(shop)
    with respx.mock(assert_all_called=False) as outside:
        for url, entries in ((settings.BANK_URL, shop.bank), (settings.CARRIER_URL, shop.carrier)):
            outside.get(url__startswith=f"{url}/ledger").mock(side_effect=_shows(shop, entries))
        yield shop


def everybody(customer_ids: Any) -> dict[int, str]:
    """Return an address for everyone."""
    return {number: f"customer{number}@example.org" for number in customer_ids}


def _mirror(shop: Books) -> None:
    for payment in Payment.objects.all():
        shop.bank.append(money("charge", payment.key, payment.order_id, payment.amount))
    for refund in Refund.objects.all():
        shop.bank.append(money("refund", refund.key, refund.order_id, refund.amount))
    for shipment in Shipment.objects.filter(status="created"):
        shop.carrier.append(line("shipment", shipment.key, shipment.order_id))


def _shows(shop: Books, entries: list[dict[str, Any]]) -> Any:
    def answer(request: httpx.Request) -> httpx.Response:
        if not shop.are_shown:
            return httpx.Response(503)
        asked = parse_qs(request.url.query.decode())
        wanted, (since,) = asked.get("order_id"), asked.get("since", [""])
        shown = [e for e in entries if (wanted is None or e["order_id"] in wanted) and e["at"] >= since]
        return httpx.Response(200, json=shown)

    return answer
