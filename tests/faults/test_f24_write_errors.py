"""F24: the disk of the message log is full, or refuses to write. A clear 503, no half order, and recovery by itself."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from orders.models import Order, OrderLine
from outbox.idempotency import IdempotencyKey
from outbox.models import Delivery, Lane, Message
from tests.factories.orders import checkout, customer, price, told
from tests.faults.sabotage import TROUBLE, failing_writes
from tests.messaging import Act, Bank, Clerk, Noted, Wiring, drain, handled, make_due, say, trail, waiting

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("table", ["outbox_message", "outbox_delivery", "outbox_idempotencykey"])
@pytest.mark.parametrize("trouble", TROUBLE)
def test_f24_checkout_while_nothing_can_be_written(trouble: str, table: str) -> None:
    """503 that says when to come back; no row of the order is there; later the same key makes one order."""
    price("MUG")
    ada = customer()

    with failing_writes(table, state=TROUBLE[trouble]):
        refused = ada.post("orders", checkout(("MUG", 1)), key="one-intent")
        assert ada.get("orders").json()["results"] == []

    assert refused.status_code == 503
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.json()["code"] == "service-unavailable"
    assert [rows.objects.count() for rows in (Order, OrderLine, IdempotencyKey)] == [0, 0, 0]
    assert not Message.objects.filter(type="order.created").exists()
    answer = ada.post("orders", checkout(("MUG", 1)), key="one-intent")
    assert answer.status_code == 202
    assert told(answer.json()["id"]) == ["order.created"]


@pytest.mark.parametrize("trouble", TROUBLE)
def test_f24_relays_wait_for_the_disk_without_an_attempt(wiring: Wiring, trouble: str) -> None:
    """Replies cannot be written: everything rolls back, nothing is counted, and later all of it is done."""
    wiring.consumer({Noted: Clerk().joined()})
    ids = say(*(Noted(number=number) for number in range(5)))

    with failing_writes("outbox_inbox", state=TROUBLE[trouble]):
        drain(Lane.RELAY)
        assert (handled(), len(waiting())) == (set(), 5)
    drain(Lane.RELAY)

    assert (handled(), waiting()) == (set(ids), [])
    assert [trail(message_id) for message_id in ids] == [[]] * 5


def test_f24_an_answer_of_the_bank_that_cannot_be_recorded_is_asked_for_again(
    wiring: Wiring, settings: Settings
) -> None:
    """The lease runs out, and the next relay asks by the same key; nothing is dead meanwhile."""
    settings.RELAY_LEASE_SECONDS = 1
    bank = Bank()
    wiring.consumer({Act: bank.effectful()})
    [message_id] = say(Act())

    with failing_writes("outbox_message", state=TROUBLE["disk full"]):
        drain(Lane.EFFECTS)
    assert not Delivery.objects.filter(dead_at__isnull=False).exists()
    make_due()
    drain(Lane.EFFECTS)

    assert {call.id for call in bank.calls} == {message_id}
    assert waiting() == []
