"""F16: events come out of order, and a webhook before its order: parked, and applied when the rest is there."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from django.test import Client
from pytest_django import Settings
from uuid_utils.compat import uuid7

from outbox.contracts import ACTION
from payments.contracts import ChargePayment
from payments.models import Payment, WebhookEvent
from sagas.models import Case
from tests.factories.charges import STEP, Charge, foreign_charge
from tests.factories.webhooks import SECRET, URL, event, send, signed
from tests.flushing import django_db_setup
from tests.integration.payments.conftest import bank, process
from tests.integration.simulator.process import Simulator
from tests.messaging import drain, make_due, say
from tests.running import running_shop
from tests.shop import Shop

__all__ = ["bank", "django_db_setup", "process"]

ROOMS = ["outbox", "orders", "inventory", "payments", "shipping", "notifications", "analytics", "sagas"]


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """Start a shop whose bank can keep its webhooks back and send the newest first."""
    with running_shop(name="out_of_order", RELAY_LEASE_SECONDS="1", GATEWAY_TIMEOUT_SECONDS="0.5") as shop:
        yield shop


def test_f16_a_refund_is_told_before_its_charge_three_times_each(shop: Shop) -> None:
    """The order has turned back when the bank tells of it, backwards and repeatedly: nothing moves, nobody is asked."""
    shop.control("bank", webhook_hold=True, webhook_newest_first=True, webhook_copies=3)
    customer = shop.customer()
    order_id = customer.place({"MUG-WHITE": 1}, country="AQ")
    end = customer.end_of(order_id)
    shop.control("bank", webhook_hold=False)
    told = "SELECT type, status FROM payments_webhookevent WHERE order_id = %s ORDER BY id"
    shop.wait_until(lambda: [status for _, status in shop.query(told, order_id)] == ["applied"] * 2)
    shop.control("bank", webhook_newest_first=False, webhook_copies=1)

    assert end == "CANCELLED shipping_refused"
    assert shop.query(told, order_id) == [("refunded", "applied"), ("charged", "applied")]
    assert [kind for kind, _ in shop.bank(order_id)] == ["charge", "refund"]
    assert shop.query("SELECT 1 FROM sagas_case WHERE key = %s", order_id) == []
    assert shop.audit() == (0, [])


def test_f16_a_webhook_before_the_answer_of_its_charge_settles_with_it(shop: Shop) -> None:
    """The bank tells of a charge while its caller still waits for the answer: the order ends well, charged once."""
    customer = shop.customer()
    order_id = customer.place({"MUG-WHITE": 1}, payment_method="pm_sim_timeout_charged")
    end = customer.end_of(order_id)
    told = "SELECT status FROM payments_webhookevent WHERE order_id = %s"
    shop.wait_until(lambda: shop.query(told, order_id) == [("applied",)])

    assert end == "CONFIRMED"
    assert [kind for kind, _ in shop.bank(order_id)] == ["charge"]


def test_f16_a_webhook_of_an_order_that_never_comes_is_parked_without_harm(shop: Shop) -> None:
    """It waits for its tolerance; meanwhile other orders go on, and nothing is given back blind."""
    order_id = str(uuid4())
    body = event("charged", key=f"{order_id}-{uuid4()}-charge-payment", order=order_id)
    signature = signed(body, secret=shop.environment["BANK_WEBHOOK_SECRETS"])
    answer = shop.http.post(URL, content=body, headers={"Webhook-Signature": signature})
    told = "SELECT status FROM payments_webhookevent WHERE order_id = %s"
    shop.wait_until(lambda: shop.query(told, order_id) == [("parked",)])
    customer = shop.customer()

    assert answer.status_code == 200
    assert customer.end_of(customer.place({"MUG-WHITE": 1})) == "CONFIRMED"
    assert shop.query(told, order_id) == [("parked",)]


@pytest.mark.django_db(transaction=True, available_apps=ROOMS)
def test_f16_a_webhook_before_its_order_is_applied_when_it_comes(
    bank: Simulator, client: Client, settings: Settings
) -> None:
    """Nothing of ours knows the order yet; once its charge is recorded the parked webhook is settled with it."""
    settings.WEBHOOK_SECRETS = {"simulated": (SECRET,)}
    charge = Charge(uuid7(), uuid7())
    command = ChargePayment(order_id=charge.order_id, amount=1234, currency="EUR", payment_method="pm_card_visa")
    foreign_charge(bank, order=charge.order, key=charge.key)
    send(client, event("charged", key=charge.key, order=charge.order))
    drain()
    make_due()
    drain()
    parked = list(WebhookEvent.objects.values_list("status", flat=True))

    say(command, key=charge.order_id, saga_id=charge.saga_id, step=STEP, direction=ACTION)
    drain()

    assert parked == ["parked"]
    assert list(WebhookEvent.objects.values_list("status", flat=True)) == ["applied"]
    assert Payment.objects.get().status == "charged"
    assert bank.kinds("bank", charge.order) == ["charge"]
    assert not Case.objects.exists()
