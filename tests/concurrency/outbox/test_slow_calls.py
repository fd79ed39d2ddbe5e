"""A slow outside world: its calls keep their lease, and hold up nobody else's outcome."""

import threading
import time
from typing import Any

import pytest
from pytest_django import Settings
from uuid_utils.compat import uuid7

from outbox import relay
from outbox.claims import due
from outbox.contracts import Envelope
from outbox.effects import EffectPump
from outbox.models import Delivery, Lane, Message
from tests.messaging import Act, Bank, Wiring, say, trail, waiting
from tests.threads import side_by_side

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["outbox"])


def test_a_lease_is_renewed_while_its_call_is_slow(wiring: Wiring, settings: Settings) -> None:
    settings.RELAY_LEASE_SECONDS = 1
    calling = threading.Event()

    def behave(_: Envelope[Any]) -> str:
        calling.set()
        time.sleep(2.5)
        return "yes"

    bank = Bank(behave)
    consumer = wiring.consumer({Act: bank.effectful()})
    [message_id] = say(Act(), saga_id=uuid7(), step="act")

    def look_again_and_again() -> int:
        assert calling.wait(timeout=10)
        pump, found, stop_at = EffectPump(), 0, time.monotonic() + 2.2
        while time.monotonic() < stop_at:
            found += pump.claim(consumer=consumer, lane=Lane.EFFECTS, types=["test.act"], limit=10)
            time.sleep(0.02)
        return found

    handed_over, stolen = side_by_side([lambda: relay.run(lane=Lane.EFFECTS, linger=0), look_again_and_again])

    assert (handed_over, stolen) == (1, 0)
    assert len(bank.calls) == 1
    assert [answer for _, answer in bank.recorded] == ["yes"]
    assert Message.objects.filter(causation_id=message_id).count() == 1
    assert waiting() == trail(message_id) == []


def test_a_run_whose_time_is_up_still_keeps_the_lease_of_a_slow_call(wiring: Wiring, settings: Settings) -> None:
    settings.RELAY_LEASE_SECONDS = 1
    calling = threading.Event()

    def behave(_: Envelope[Any]) -> str:
        calling.set()
        time.sleep(1.8)
        return "yes"

    bank = Bank(behave)
    wiring.consumer({Act: bank.effectful()})
    say(Act(), saga_id=uuid7(), step="act")

    def watch() -> bool:
        """Say whether the lease was ever over."""
        assert calling.wait(timeout=10)
        stop_at, over = time.monotonic() + 1.6, False
        while time.monotonic() < stop_at:
            over = over or due(lane=Lane.EFFECTS, destinations=["tester"], using="default") != set()
            time.sleep(0.02)
        return over

    claimed, was_over = side_by_side([lambda: relay.run(lane=Lane.EFFECTS, seconds=0.05), watch])

    assert (claimed, was_over) == (1, False)
    assert waiting() == []


def test_a_slow_call_holds_up_no_other_outcome(wiring: Wiring) -> None:
    begun = time.monotonic()
    recorded_at: dict[int, float] = {}

    def behave(envelope: Envelope[Any]) -> str:
        if envelope.data.number == 0:
            time.sleep(1)
        return "yes"

    bank = Bank(behave)

    def note(envelope: Envelope[Any], _: Any) -> None:
        recorded_at[envelope.data.number] = time.monotonic() - begun

    bank.outcome = note
    consumer = wiring.consumer({Act: bank.effectful()})
    say(*(Act(number=number) for number in range(21)))
    pump = EffectPump()

    begun = time.monotonic()
    pump.claim(consumer=consumer, lane=Lane.EFFECTS, types=["test.act"], limit=100)
    while len(recorded_at) < 20:
        pump.collect(seconds=0.01)
    left = Delivery.objects.count()
    pump.close()

    assert left == 1
    assert max(at for number, at in recorded_at.items() if number) < 0.2
    assert recorded_at[0] >= 1
    assert waiting() == []


def test_new_work_is_begun_while_a_slow_call_is_in_flight(wiring: Wiring) -> None:
    slow_is_called, quick_is_done = threading.Event(), threading.Event()

    def behave(envelope: Envelope[Any]) -> bool:
        if envelope.data.number == 0:
            slow_is_called.set()
            return quick_is_done.wait(timeout=10)
        quick_is_done.set()
        return True

    bank = Bank(behave)
    wiring.consumer({Act: bank.effectful()})
    say(Act(number=0))

    def say_more() -> int:
        assert slow_is_called.wait(timeout=10)
        say(Act(number=1))
        return 0

    side_by_side([lambda: relay.run(lane=Lane.EFFECTS, linger=0), say_more])

    assert sorted((envelope.data.number, answer) for envelope, answer in bank.recorded) == [(0, True), (1, True)]
