"""An order whose story has everything: a slow bank, a parcel that is refused, a refund that fails, people at work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import httpx
import respx
from django.conf import settings
from django.test import override_settings

from outbox.models import Delivery
from sagas import cases, services
from sagas.models import Case
from tests.factories.inventory import stocked
from tests.factories.orders import Customer, checkout, customer, price
from tests.messaging import drain, make_due, refill_bucket

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
KEY = "checkout-7"
STREET = "1 Main St"
CARD = "pm_card_visa"
REASON = "the bank says it is open again"
NOTE = "called the bank, ticket 77"
REFUSAL = {"id": "", "code": "refund_refused", "detail": "the bank refuses to refund this charge"}


@contextmanager
def outside_world() -> Iterator[respx.MockRouter]:
    """Answer in the place of bank and carrier: no charge is answered, no parcel goes, no refund succeeds."""

    def look_up(request: httpx.Request) -> httpx.Response:
        key = request.url.path.rpartition("/")[2]
        made = {"id": "ch_1", "key": key, "status": "succeeded", "amount": 2500, "currency": "EUR"}
        return httpx.Response(200, json=made)

    simulated = override_settings(PAYMENT_GATEWAY="simulated", CARRIER="simulated")
    with simulated, respx.mock(assert_all_called=False) as world:
        bank, carrier = settings.BANK_URL, settings.CARRIER_URL
        world.post(f"{bank}/charges").mock(side_effect=httpx.ReadTimeout("slow"))
        world.get(url__startswith=f"{bank}/charges/").mock(side_effect=look_up)
        world.post(f"{bank}/refunds").respond(402, json=REFUSAL)
        world.get(url__startswith=f"{bank}/refunds/").respond(404, json={})
        world.post(f"{carrier}/shipments").respond(422, json={"code": "no_route", "detail": "nobody goes there"})
        world.post(url__regex=rf"{carrier}/shipments/.+/cancel").respond(404, json={})
        yield world


def troubled_order() -> tuple[Customer, UUID]:
    """Place an order over the API and let all of it go wrong; a refund waits for a person in the end."""
    buyer = customer()
    refill_bucket(1_000)
    price("MUG")
    stocked("MUG", on_hand=10)
    headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    with outside_world():
        order_id = UUID(buyer.post("orders", checkout(("MUG", 2)), key=KEY, headers=headers).json()["id"])
        while Delivery.objects.filter(dead_at__isnull=True).exists():
            make_due()
            drain()
    return buyer, order_id


def worked_on(order_id: UUID) -> Case:
    """Let olga write a note on the order's case and retry it, in vain."""
    case = Case.objects.get(key=order_id, status=Case.Status.OPEN)
    assert case.saga_id is not None
    cases.note(case_id=case.pk, operator="olga", text=NOTE)
    services.retry(saga_id=case.saga_id, operator="olga", origin="10.0.0.7", reason=REASON)
    with outside_world():
        while Delivery.objects.filter(dead_at__isnull=True).exists():
            make_due()
            drain()
    return case
