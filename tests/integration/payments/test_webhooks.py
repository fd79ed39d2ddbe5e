"""What the bank tells us by itself is checked, kept once, and applied when our own rows agree."""

import json
import time
from collections.abc import Callable

import pytest
from django.test import Client
from pytest_django import Settings
from uuid_utils.compat import uuid7

from outbox.models import Delivery, Lane, Message
from payments.models import Payment, WebhookEvent
from payments.webhooks import WEBHOOKS, prune_settled
from sagas.models import Case
from tests.factories.charges import ask, charged, release, undo, undone_before_it_arrived
from tests.factories.webhooks import SECRET, URL, event, send, signed
from tests.integration.simulator.process import Simulator
from tests.messaging import drain, execute, make_due, refill_bucket

ROOMS = ["outbox", "orders", "inventory", "payments", "shipping", "notifications", "analytics", "sagas"]
pytestmark = pytest.mark.django_db(transaction=True, available_apps=ROOMS)


@pytest.fixture(autouse=True)
def _secret(settings: Settings, transactional_db: None) -> None:
    refill_bucket(1_000)
    settings.WEBHOOK_SECRETS = {"simulated": (SECRET,)}


def counted(kind: str, outcome: str) -> float:
    """Return how many webhooks of a type had this outcome so far."""
    value: float = WEBHOOKS.labels("simulated", kind, outcome)._value.get()
    return value


def statuses() -> list[tuple[str, str]]:
    return list(WebhookEvent.objects.order_by("pk").values_list("type", "status"))


def cases(order: str) -> list[str]:
    return list(Case.objects.filter(key=order, status="OPEN").values_list("fingerprint", flat=True))


def test_a_signed_event_is_stored_and_nothing_else(client: Client) -> None:
    order = str(uuid7())
    body = event("charged", key="k-1", order=order)

    answer = send(client, body)

    stored = WebhookEvent.objects.get()
    assert (answer.status_code, json.loads(answer.content)) == (200, {"received": True})
    assert (stored.type, stored.key, stored.order_id, stored.amount) == ("charged", "k-1", order, 1234)
    assert statuses() == [("charged", "received")]
    assert list(Message.objects.values_list("type", flat=True)) == ["payment.webhook_received"]
    assert not Payment.objects.exists()


def test_a_repeated_event_is_fine_counted_and_kept_once(client: Client) -> None:
    body = event("charged", key="k-1", order=str(uuid7()))
    before = counted("charged", "duplicate")

    answers = [send(client, body) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert WebhookEvent.objects.count() == Message.objects.count() == 1
    assert counted("charged", "duplicate") - before == 2


BODY = event("charged", key="k-1", order="o-1")


# Made when they are used: a signature has a time in it.
BAD_SIGNATURES: dict[str, Callable[[], str]] = {
    "none": lambda: "",
    "only a time": lambda: "t=1",
    "no time": lambda: "v1=" + "0" * 64,
    "a guess": lambda: f"t={int(time.time())},v1=" + "0" * 64,
    "another secret": lambda: signed(BODY, secret="another secret"),
    "another body": lambda: signed(BODY + " "),
    "too old": lambda: signed(BODY, at=time.time() - 301),
    # Far enough that the wait of a slow machine does not bring it within the five minutes.
    "from the future": lambda: signed(BODY, at=time.time() + 3_000),
    "another scheme beside it": lambda: signed(BODY) + ",v0=" + "0" * 64,
    "too many": lambda: signed(BODY) + (",v1=" + "0" * 64) * 10,
    "a time out of range": lambda: "t=" + "9" * 12 + ",v1=" + "0" * 64,
}


@pytest.mark.parametrize("name", BAD_SIGNATURES)
def test_a_bad_signature_is_refused_and_nothing_is_stored(client: Client, name: str) -> None:
    signature = BAD_SIGNATURES[name]()

    answer = send(client, BODY, signature=signature)

    assert answer.status_code == 401
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert json.loads(answer.content)["code"] == "invalid-signature"
    assert not WebhookEvent.objects.exists()


def test_both_secrets_are_good_while_one_takes_over(client: Client, settings: Settings) -> None:
    settings.WEBHOOK_SECRETS = {"simulated": ("the-new-one", SECRET)}
    first, second = (event("charged", key=f"k-{n}", order="o-1") for n in range(2))

    old = send(client, first, signature=signed(first, secret=SECRET))
    new = send(client, second, signature=signed(second, secret="the-new-one"))

    assert (old.status_code, new.status_code) == (200, 200)


def test_without_a_secret_nothing_is_believed(client: Client, settings: Settings) -> None:
    settings.WEBHOOK_SECRETS = {"simulated": ()}

    assert send(client, BODY, signature=signed(BODY, secret="")).status_code == 401


def test_an_unknown_gateway_is_not_found(client: Client) -> None:
    answer = send(client, BODY, url="/webhooks/payments/another")

    assert (answer.status_code, json.loads(answer.content)["code"]) == (404, "not-found")


BAD_BODIES = {
    "nothing": "",
    "a list": "[]",
    "half of it": "{",
    "null": "null",
    "no type": '{"id": "evt_1"}',
    "no id": '{"id": "", "type": "charged"}',
    "no data": '{"id": "evt_1", "type": "charged"}',
    "little data": '{"id": "evt_1", "type": "charged", "data": {"key": "k"}}',
    "no amount": event("charged", key="k", order="o", amount=0),
    "no currency": event("charged", key="k", order="o", currency="euro"),
    "a NUL": event("charged", key="k\x00", order="o"),
    "a long key": event("charged", key="k" * 256, order="o"),
    "a large amount": event("charged", key="k", order="o", amount=2**63),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_what_is_signed_and_cannot_be_read_is_a_bad_request(client: Client, name: str) -> None:
    answer = send(client, BAD_BODIES[name])

    assert (answer.status_code, json.loads(answer.content)["code"]) == (400, "invalid-body")
    assert not WebhookEvent.objects.exists()


def test_a_body_too_large_is_refused(client: Client) -> None:
    assert send(client, " " * 70_000).status_code == 413


def test_other_methods_are_not_known(client: Client) -> None:
    assert client.get(URL).status_code == 405


def test_a_type_of_no_concern_is_kept_and_ignored(client: Client) -> None:
    answer = send(client, json.dumps({"id": "evt_1", "type": "payout.paid", "data": {"any": "thing"}}))

    assert answer.status_code == 200
    assert statuses() == [("payout.paid", "ignored")]
    assert not Message.objects.exists()


@pytest.mark.usefixtures("long_rests")
def test_a_confirmed_charge_wakes_the_command_that_waits(bank: Simulator, client: Client) -> None:
    charge = ask(method="pm_sim_timeout_charged")
    drain()
    before = Payment.objects.get().status
    send(client, event("charged", key=charge.key, order=charge.order))

    drain()

    assert before == "unknown"
    assert Payment.objects.get().status == "charged"
    assert statuses() == [("charged", "applied")]
    replies = Message.objects.filter(ordering_key=charge.order_id, kind="event").values_list("type", flat=True)
    assert list(replies) == ["payment.charged"]
    assert bank.kinds("bank", charge.order) == ["charge"]


def test_a_webhook_before_its_order_is_parked_and_applied_when_it_comes(bank: Simulator, client: Client) -> None:
    charge = ask()
    Delivery.objects.filter(type="payment.charge").update(available_at="2100-01-01T00:00:00Z", token=uuid7())
    send(client, event("charged", key=charge.key, order=charge.order))
    drain()
    parked = statuses()

    Delivery.objects.update(token=None)
    make_due()
    drain(Lane.EFFECTS)

    assert parked == [("charged", "parked")]
    assert statuses() == [("charged", "applied")]
    assert Payment.objects.get().status == "charged"


def test_an_event_that_nothing_explains_is_parked_too_long_and_then_a_case(
    bank: Simulator, client: Client, settings: Settings
) -> None:
    order = str(uuid7())
    send(client, event("charged", key=f"{order}-x", order=order))
    settings.RECONCILIATION_TOLERANCE_SECONDS = 86_400 * 365 * 10
    drain()
    parked = statuses()
    settings.RECONCILIATION_TOLERANCE_SECONDS = 0
    make_due()
    drain()

    assert parked == [("charged", "parked")]
    assert statuses() == [("charged", "reported")]
    assert cases(order) == ["charge_unexplained"]


def test_a_late_charge_is_given_back_at_once(bank: Simulator, client: Client) -> None:
    charge = undone_before_it_arrived(bank)
    release(bank, charge)

    send(client, event("charged", key=charge.key, order=charge.order))
    drain()

    assert bank.kinds("bank", charge.order) == ["charge", "refund"]
    assert statuses() == [("charged", "repaired")]
    assert Payment.objects.get().status == "refunded"
    assert cases(charge.order) == []


def test_a_refund_of_ours_is_applied_and_another_is_a_case(bank: Simulator, client: Client, settings: Settings) -> None:
    settings.RECONCILIATION_TOLERANCE_SECONDS = 0
    undo(charge := charged())

    send(client, event("refunded", key=charge.refund_key, order=charge.order))
    send(client, event("refunded", key="by-hand", order=charge.order))
    drain()

    assert statuses() == [("refunded", "applied"), ("refunded", "reported")]
    assert cases(charge.order) == ["refund_unexplained"]


def test_a_dispute_is_a_case_with_the_money_at_stake(bank: Simulator, client: Client) -> None:
    charge = charged()

    for _ in range(2):
        send(client, event("disputed", key=charge.key, order=charge.order))
        drain()

    assert statuses() == [("disputed", "reported")] * 2
    assert cases(charge.order) == ["disputed"]
    assert "12.34 EUR at stake" in Case.objects.get(key=charge.order_id).error


def test_out_of_order_and_three_times_each_ends_the_same(bank: Simulator, client: Client) -> None:
    charge = charged()
    undo(charge)
    told = [
        event("refunded", key=charge.refund_key, order=charge.order),
        event("charged", key=charge.key, order=charge.order),
    ]

    for body in told:
        for _ in range(3):
            send(client, body)
            drain()

    assert statuses() == [("refunded", "applied"), ("charged", "applied")]
    assert cases(charge.order) == []
    assert bank.kinds("bank", charge.order) == ["charge", "refund"]


def test_settled_events_are_forgotten_with_the_log(client: Client) -> None:
    for n in range(3):
        send(client, event("charged", key=f"k-{n}", order="o-1"))
    execute("UPDATE payments_webhookevent SET received_at = now() - interval '91 days' WHERE key <> 'k-0'")
    execute("UPDATE payments_webhookevent SET settled_at = now() WHERE key <> 'k-2'")

    pruned = prune_settled()

    assert pruned == 1
    assert sorted(WebhookEvent.objects.values_list("key", flat=True)) == ["k-0", "k-2"]
