"""A relay that slept past its lease: what it says too late is refused, what it has not begun is not begun."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import REGISTRY
from pytest_django import Settings
from uuid_utils.compat import uuid7

from outbox.consumers import Consumer
from outbox.contracts import COMPENSATION, Envelope
from outbox.effects import EffectPump
from outbox.models import Delivery, Lane, Message
from tests.messaging import (
    Act,
    Bank,
    Undo,
    Wiring,
    execute,
    make_due,
    rest_of,
    say,
    trail,
    waiting,
)

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["outbox"])


class Gate:
    """Behaviour of a bank that answers when it is told to."""

    def __init__(self) -> None:
        self.called = threading.Event()
        self.opened = threading.Event()

    def __call__(self, envelope: Envelope[Any]) -> str:
        if envelope.attempt == 1:
            self.called.set()
            assert self.opened.wait(10)
            return "late"
        return "in time"


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()


@pytest.fixture
def bank(gate: Gate) -> Bank:
    return Bank(gate)


@pytest.fixture
def consumer(wiring: Wiring, bank: Bank) -> Consumer:
    return wiring.consumer({Act: bank.effectful(), Undo: bank.effectful()})


def claim(pump: EffectPump, consumer: Consumer, lane: Lane = Lane.EFFECTS) -> int:
    types = [kind.wire_type for kind in consumer.handlers]
    return pump.claim(consumer=consumer, lane=lane, types=types, limit=100)


def fenced() -> float:
    return REGISTRY.get_sample_value("outbox_fenced_total") or 0.0


def test_what_a_zombie_says_too_late_is_refused(consumer: Consumer, bank: Bank, gate: Gate) -> None:
    [message_id] = say(Act(), saga_id=uuid7(), step="act")
    before = fenced()
    zombie, other = EffectPump(), EffectPump()
    claim(zombie, consumer)
    assert gate.called.wait(10)
    make_due()

    assert claim(other, consumer) == 1
    other.close()
    gate.opened.set()
    zombie.close()

    assert [answer for _, answer in bank.recorded] == ["in time"]
    assert Message.objects.filter(causation_id=message_id).count() == 1
    assert trail(message_id) == waiting() == []
    assert fenced() - before == 1


def test_the_failure_of_a_zombie_is_refused_too(consumer: Consumer, bank: Bank, gate: Gate) -> None:
    """It must put nothing to rest that another relay works on."""
    held = threading.Event()
    bank.behave = lambda e: _fail(gate, e) if e.attempt == 1 else held.wait(10)
    [message_id] = say(Act(), saga_id=uuid7(), step="act")
    zombie, other = EffectPump(), EffectPump()
    claim(zombie, consumer)
    assert gate.called.wait(10)
    make_due()
    claim(other, consumer)

    gate.opened.set()
    zombie.close()

    delivery = Delivery.objects.get()
    assert (delivery.attempts, delivery.error) == (2, "")
    assert delivery.token is not None
    held.set()
    other.close()
    assert waiting() == trail(message_id) == []


def test_a_zombie_that_nobody_has_missed_may_still_record(consumer: Consumer, bank: Bank, gate: Gate) -> None:
    [message_id] = say(Act(), saga_id=uuid7(), step="act")
    sleeper = EffectPump()
    claim(sleeper, consumer)
    make_due()
    gate.opened.set()

    sleeper.close()

    assert Message.objects.filter(causation_id=message_id).count() == 1
    assert waiting() == []


def test_a_zombie_extends_no_lease_of_another_relay(
    consumer: Consumer, gate: Gate, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    [message_id] = say(Act(), saga_id=uuid7(), step="act")
    zombie = EffectPump()
    claim(zombie, consumer)
    execute("UPDATE outbox_delivery SET token = %s, available_at = now() - interval '1 minute'", uuid7())
    zombie._renewed_at = float("-inf")

    zombie.collect(seconds=0)

    assert rest_of(message_id).total_seconds() < 0
    gate.opened.set()
    zombie.close()
    assert waiting() == [message_id]


def test_a_call_that_a_zombie_has_not_begun_is_not_begun(
    consumer: Consumer, bank: Bank, gate: Gate, settings: Settings
) -> None:
    """The process slept with a call in its queue; meanwhile the order was turned back and undone elsewhere."""
    settings.EFFECTS_CONCURRENCY = 1
    settings.RELAY_LEASE_SECONDS = 0.2
    order_id, saga_id = uuid7(), uuid7()
    [slow] = say(Act(number=1))
    [late] = say(Act(number=2), key=order_id, saga_id=saga_id, step="act")
    zombie = EffectPump()
    assert claim(zombie, consumer) == 2
    assert gate.called.wait(10)
    settings.RELAY_LEASE_SECONDS = 8
    execute("SELECT pg_sleep(0.25)")
    say(Undo(number=3), key=order_id, saga_id=saga_id, step="act", direction=COMPENSATION)
    make_due()
    other = EffectPump()
    bank.behave = lambda _: "done"
    claim(other, consumer)
    other.close()
    claim(other := EffectPump(), consumer, Lane.COMPENSATIONS)
    other.close()

    gate.opened.set()
    zombie.close()

    assert [e.data.number for e in bank.calls if e.id != slow] == [3]
    assert trail(late) == [(2, "withdrawn", "Withdrawn")]
    assert waiting() == []


def _fail(gate: Gate, envelope: Envelope[Any]) -> str:
    gate(envelope)
    raise RuntimeError("too late anyway")
