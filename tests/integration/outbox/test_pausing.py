"""A paused destination gets nothing more: not lost, not tried, not looked at; and everybody else goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from prometheus_client import REGISTRY
from pytest_django import Settings
from uuid_utils.compat import uuid7

from outbox import bucket, pausing, rates, relay
from outbox.claims import due
from outbox.consumers import TransientError
from outbox.models import Delivery, Lane, Pause, TokenBucket
from outbox.pausing import PauseRefused
from outbox.selectors import held_up_by_outage, refresh_gauges, unheard, waiting_for
from tests.messaging import (
    Act,
    Bank,
    Clerk,
    Noted,
    Undo,
    Wiring,
    drain,
    execute,
    refill_bucket,
    say,
    trail,
    waiting,
)

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["outbox"])

WHO = {"operator": "ada", "reason": "the bank asked us to"}
UNDO = {"saga_id": uuid7(), "step": "act", "direction": "compensation"}


def pause(destination: str = "tester", *, compensations_only: bool = False) -> None:
    with transaction.atomic():
        pausing.pause(destination=destination, compensations_only=compensations_only, **WHO)


def resume(destination: str = "tester") -> Pause:
    with transaction.atomic():
        return pausing.resume(destination=destination)


def deliveries() -> list[tuple[int, str]]:
    return list(Delivery.objects.order_by("id").values_list("attempts", "error_class"))


def wait_until(is_so: Callable[[], bool]) -> None:
    limit = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < limit
        time.sleep(0.02)


# --- the hand-over ---


def test_joined_messages_wait_and_go_on_in_their_order(wiring: Wiring) -> None:
    clerk = Clerk()
    wiring.consumer({Noted: clerk.joined()})
    key = uuid7()
    pause()
    said = say(*(Noted(number=number) for number in range(5)), key=key)

    assert drain() == 0
    assert (waiting(), deliveries(), clerk.numbers) == (said, [(0, "")] * 5, [])

    resume()
    drain()
    assert (waiting(), clerk.numbers) == ([], [0, 1, 2, 3, 4])


def test_effectful_messages_wait_without_a_call(wiring: Wiring) -> None:
    bank = Bank()
    wiring.consumer({Act: bank.effectful()})
    pause()
    said = say(Act(number=1), Act(number=2))

    assert drain() == 0
    assert (waiting(), deliveries(), bank.calls) == (said, [(0, "")] * 2, [])

    resume()
    drain()
    assert (waiting(), len(bank.calls), [trail(one) for one in said]) == ([], 2, [[], []])


def test_compensations_wait_too(wiring: Wiring) -> None:
    bank = Bank()
    wiring.consumer({Undo: bank.effectful()})
    pause()
    say(Undo(), **UNDO)  # type: ignore[arg-type]

    assert drain() == 0
    assert (deliveries(), bank.calls) == ([(0, "")], [])

    resume()
    drain()
    assert (waiting(), len(bank.calls)) == ([], 1)


def test_compensations_alone_can_be_paused(wiring: Wiring) -> None:
    bank = Bank()
    wiring.consumer({Act: bank.effectful(), Undo: bank.effectful()})
    pause(compensations_only=True)
    say(Act(number=7))
    [compensation] = say(Undo(), **UNDO)  # type: ignore[arg-type]

    drain()

    assert [envelope.data.number for envelope in bank.calls] == [7]
    assert waiting() == [compensation]
    resume()
    drain()
    assert waiting() == []


def test_others_are_handed_theirs_meanwhile(wiring: Wiring) -> None:
    paused, other = Clerk(), Clerk()
    wiring.consumer({Noted: paused.joined()}, name="paused")
    wiring.consumer({Noted: other.joined()}, name="other")
    pause("paused")
    say(Noted(number=1))

    drain()

    assert (paused.numbers, other.numbers) == ([], [1])
    assert list(Delivery.objects.values_list("destination", flat=True)) == ["paused"]


def test_a_message_that_rests_before_a_retry_rests_on(wiring: Wiring) -> None:
    """What has failed before keeps its count; the pause adds nothing to it."""

    def busy(_: object) -> object:
        raise TransientError("busy")

    wiring.consumer({Act: Bank(busy).effectful()})
    [message_id] = say(Act())
    drain()
    pause()
    execute("UPDATE outbox_delivery SET available_at = now() - interval '1 hour'")

    assert drain() == 0
    assert deliveries() == [(1, "TransientError")]
    assert len(trail(message_id)) == 1


def test_a_relay_that_is_at_work_stops_within_a_second_and_goes_on_within_one(wiring: Wiring) -> None:
    clerk = Clerk()
    wiring.consumer({Noted: clerk.joined()})
    stop = threading.Event()

    def relay_on() -> None:
        while not stop.is_set():
            relay.run(lane=Lane.RELAY, seconds=1, linger=1)
        connections.close_all()

    worker = threading.Thread(target=relay_on)
    worker.start()
    try:
        say(Noted(number=1))
        wait_until(lambda: clerk.numbers == [1])
        pause()
        time.sleep(1)
        say(Noted(number=2))
        time.sleep(1)
        while_paused = list(clerk.numbers)
        resume()
        begun = time.monotonic()
        wait_until(lambda: clerk.numbers == [1, 2])
        took = time.monotonic() - begun
    finally:
        stop.set()
        worker.join()

    assert while_paused == [1]
    assert took < 5, "the bell rings; a busy machine may be slow to hear it"


def test_the_pause_costs_no_statement(wiring: Wiring) -> None:
    """The question who has something due answers it too: a pass over an empty queue stays one statement."""
    wiring.consumer({Noted: Clerk().joined()})
    pause()

    with CaptureQueriesContext(connection) as queries:
        assert due(lane=Lane.RELAY, destinations=["tester"], using="default") == set()

    assert len(queries.captured_queries) == 1


# --- who pauses ---


def test_a_pause_says_who_and_why_and_is_kept_once_it_is_over(wiring: Wiring) -> None:
    wiring.consumer({Noted: Clerk().joined()})
    pause()

    [held] = pausing.pauses()
    assert (held.destination, held.paused_by, held.reason, held.compensations_only) == ("tester", *WHO.values(), False)
    assert resume().paused_by == "ada"
    assert pausing.pauses() == []
    kept = Pause.objects.get()
    assert kept.resumed_at is not None
    assert kept.resumed_at >= kept.paused_at


@pytest.mark.parametrize(
    ("destination", "complaint"),
    [("nobody", "no destination is named 'nobody'; there are: tester"), ("tester", "tester is paused already")],
)
def test_what_cannot_be_paused_stays_as_it_is(wiring: Wiring, destination: str, complaint: str) -> None:
    wiring.consumer({Noted: Clerk().joined()})
    pause()
    before = list(Pause.objects.values())

    with pytest.raises(PauseRefused, match=complaint):
        pause(destination, compensations_only=True)

    assert list(Pause.objects.values()) == before


def test_only_what_is_paused_can_be_resumed(wiring: Wiring) -> None:
    wiring.consumer({Noted: Clerk().joined()})

    with pytest.raises(PauseRefused, match="tester is not paused"):
        resume()
    pause()
    resume()
    with pytest.raises(PauseRefused, match="tester is not paused"):
        resume()


# --- who asks ---


def test_what_waits_behind_a_pause_is_held_up_as_by_an_outage(wiring: Wiring) -> None:
    wiring.consumer({Act: Bank().effectful(), Undo: Bank().effectful()})
    key, other, saga_id = uuid7(), uuid7(), uuid7()
    [action] = say(Act(), key=key, saga_id=saga_id, step="act")
    [undo] = say(Undo(), key=other, saga_id=saga_id, step="act", direction="compensation")
    keys = [key, other]

    assert held_up_by_outage(ordering_keys=keys) == set()
    pause(compensations_only=True)
    assert held_up_by_outage(ordering_keys=keys) == {undo}
    resume()
    pause()
    assert held_up_by_outage(ordering_keys=keys) == {action, undo}
    resume()
    assert held_up_by_outage(ordering_keys=keys) == set()


def test_what_a_paused_engine_has_not_heard_is_known_by_key(wiring: Wiring) -> None:
    wiring.consumer({Noted: Clerk().joined()})
    key, quiet = uuid7(), uuid7()
    say(Noted(), key=key)

    assert unheard(ordering_keys=[key, quiet], destination="tester") == set()
    pause()
    assert unheard(ordering_keys=[key, quiet], destination="tester") == {key}


def test_what_waits_is_counted_no_further_than_asked(wiring: Wiring) -> None:
    wiring.consumer({Noted: Clerk().joined()})
    say(*(Noted(number=number) for number in range(5)))

    assert [waiting_for(destination="tester", most=most) for most in (10, 5, 3)] == [5, 5, 4]
    assert waiting_for(destination="nobody", most=3) == 0


def test_the_metric_tells_which_are_paused(wiring: Wiring) -> None:
    wiring.consumer({Noted: Clerk().joined()})
    wiring.consumer({Act: Bank().effectful()}, name="other")

    def measured() -> list[float | None]:
        refresh_gauges()
        return [REGISTRY.get_sample_value("outbox_paused", {"destination": name}) for name in ("tester", "other")]

    assert measured() == [0, 0]
    pause()
    assert measured() == [1, 0]
    resume()
    assert measured() == [0, 0]


# --- the limit of compensations ---


def set_rate(per_second: int | None) -> rates.Rate:
    with transaction.atomic():
        return rates.set_rate(per_second=per_second, **WHO)


def test_an_operators_limit_holds_at_once_for_whoever_takes_and_ends_with_the_settings(settings: Settings) -> None:
    settings.COMPENSATIONS_PER_SECOND = 200
    refill_bucket(tokens=1_000)
    assert bucket.of_compensations().take(1_000) == 20

    assert set_rate(50).per_second == 200
    refill_bucket(tokens=1_000)
    assert bucket.of_compensations().take(1_000) == 5
    assert (rates.rate().per_second, rates.rate().changed_by, rates.rate().reason) == (50, *WHO.values())

    assert set_rate(None).per_second == 50
    refill_bucket(tokens=1_000)
    assert bucket.of_compensations().take(1_000) == 20
    assert rates.rate() == rates.Rate(200, 200)


def test_the_limit_can_be_set_before_anybody_has_compensated() -> None:
    set_rate(3)

    assert (TokenBucket.objects.get().per_second, rates.rate().per_second) == (3, 3)
    assert bucket.of_compensations().take(5) == 0, "a new bucket begins empty"


@pytest.mark.parametrize("per_second", [0, -1, 1_001])
def test_a_limit_out_of_bounds_is_refused(per_second: int) -> None:
    refill_bucket()

    with pytest.raises(rates.OutOfBounds, match="1 to 1000"):
        set_rate(per_second)

    assert not rates.rate().is_changed


def test_no_second_holds_more_than_the_operators_limit(settings: Settings) -> None:
    settings.COMPENSATIONS_PER_SECOND = 200
    refill_bucket(tokens=1_000)
    set_rate(30)
    full = bucket.of_compensations().take(1_000)
    execute("UPDATE outbox_tokenbucket SET refilled_at = clock_timestamp() - interval '0.999 s'")

    assert 0 < full + bucket.of_compensations().take(1_000) <= 30


def test_a_paused_queue_does_not_keep_a_relay_awake(wiring: Wiring) -> None:
    wiring.consumer({Noted: Clerk().joined()})
    pause()
    say(Noted())

    begun = time.monotonic()
    claimed = relay.run(lane=Lane.RELAY, seconds=20, linger=0.1)

    assert claimed == 0
    assert timedelta(seconds=time.monotonic() - begun) < timedelta(seconds=10)
