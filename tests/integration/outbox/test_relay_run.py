"""One run of a relay: it drains its lane, lingers for what follows, ends in time, and lives without Redis."""

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from django.db import OperationalError
from prometheus_client import REGISTRY
from pytest_django import Settings
from uuid_utils.compat import uuid7

from config.schedules import SCHEDULES
from outbox import doorbell, relay
from outbox.consumers import Outcome
from outbox.contracts import COMPENSATION, Envelope
from outbox.models import Lane
from outbox.tasks import relay as relay_task
from tests.messaging import Act, Acted, Bank, Clerk, Noted, Undo, Wiring, make_due, refill_bucket, say, waiting

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["outbox"])


connect = doorbell._redis


@pytest.fixture(autouse=True)
def _calm(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Begin and end with nobody awake and no silence after a failed ring."""
    monkeypatch.setattr(doorbell, "_silent_until", 0.0)
    # However slow the machine: no mark runs out within a test, and every answer is waited for.
    monkeypatch.setattr(doorbell, "AWAKE_MILLISECONDS", 60_000)
    monkeypatch.setattr(doorbell, "HELP_MILLISECONDS", 60_000)
    monkeypatch.setattr(doorbell, "_redis", lambda _=0: connect(30.0))
    _forget_marks()
    yield
    _forget_marks()


def _forget_marks() -> None:
    kinds = ("awake", "help", "bell")
    connect(30.0).delete(*(f"saga-bridge:{kind}:{lane}" for kind in kinds for lane in Lane))


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    sent: list[str] = []
    monkeypatch.setattr(doorbell, "send", sent.append)
    return sent


@pytest.fixture
def _no_redis(_calm: None, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Point the doorbell to a port where nobody listens."""
    with monkeypatch.context() as patch:
        patch.setattr(settings, "REDIS_URL", "redis://127.0.0.1:1/0")
        patch.setattr(doorbell, "_clients", {})
        patch.setattr(doorbell, "_redis", connect)
        yield


def lost() -> float:
    return REGISTRY.get_sample_value("outbox_doorbell_lost_total") or 0.0


def test_a_run_drains_its_lane_however_many_batches_it_takes(wiring: Wiring, settings: Settings) -> None:
    settings.RELAY_BATCH = 7
    clerk = Clerk()
    wiring.consumer({Noted: clerk.joined()})
    say(*(Noted(number=number) for number in range(50)))

    assert relay.run(lane=Lane.RELAY, linger=0) == 50

    assert clerk.numbers == list(range(50))
    assert max(len(batch) for batch in clerk.batches) == 7


def test_a_run_touches_its_own_lane_only(wiring: Wiring) -> None:
    bank, clerk = Bank(), Clerk()
    wiring.consumer({Act: bank.effectful(), Noted: clerk.joined(), Undo: clerk.joined()})
    say(Noted(number=1), Act(number=2))
    say(Undo(number=3), saga_id=uuid7(), step="act", direction=COMPENSATION)

    assert relay.run(lane=Lane.EFFECTS, linger=0) == 1
    assert (len(bank.calls), clerk.numbers) == (1, [])
    assert relay.run(lane=Lane.COMPENSATIONS, linger=0) == 1
    assert clerk.numbers == [3]
    assert relay.run(lane=Lane.RELAY, linger=0) == 1
    assert waiting() == []


def test_a_run_carries_a_chain_of_messages_to_its_end(wiring: Wiring) -> None:
    """What a handler says in reply is delivered by the same run: an order needs no second ring."""
    chain: list[int] = []

    def pass_on(envelope: Envelope[Any]) -> Outcome:
        chain.append(envelope.data.number)
        return Acted(number=envelope.data.number + 1) if envelope.data.number < 5 else None

    wiring.consumer({Act: Clerk(pass_on).joined(), Acted: Clerk(pass_on).joined()})
    say(Act(number=0), key=uuid7())

    relay.run(lane=Lane.RELAY, linger=0)

    assert chain == [0, 1, 2, 3, 4, 5]


def test_a_run_lingers_for_what_follows(wiring: Wiring) -> None:
    wiring.consumer({Noted: Clerk().joined()})

    begun = time.monotonic()
    relay.run(lane=Lane.RELAY, linger=0.1)

    assert 0.1 <= time.monotonic() - begun < 1


def test_a_run_ends_in_time_and_hands_over_what_is_left(wiring: Wiring, sent: list[str]) -> None:
    def for_ever(envelope: Envelope[Any]) -> Outcome:
        return Acted(number=envelope.data.number + 1)

    wiring.consumer({Acted: Clerk(for_ever).joined()})
    say(Acted(number=0), key=uuid7())
    sent.clear()

    begun = time.monotonic()
    claimed = relay.run(lane=Lane.RELAY, seconds=0.3)

    assert 0.3 <= time.monotonic() - begun < 1
    assert claimed > 5
    assert len(waiting()) == 1
    assert sent == [Lane.RELAY]


def test_a_run_waits_for_its_calls_before_it_ends(wiring: Wiring) -> None:
    bank = Bank(lambda _: time.sleep(0.3))
    wiring.consumer({Act: bank.effectful()})
    say(Act(), Act())

    relay.run(lane=Lane.EFFECTS, seconds=0.05)

    assert len(bank.recorded) == 2
    assert waiting() == []


def test_more_than_a_batch_calls_for_help_once(wiring: Wiring, settings: Settings, sent: list[str]) -> None:
    settings.RELAY_BATCH = 10
    wiring.consumer({Noted: Clerk().joined()})
    say(*(Noted() for _ in range(100)))
    sent.clear()

    relay.run(lane=Lane.RELAY, linger=0)

    assert sent == [Lane.RELAY]


def test_compensations_keep_to_the_limit_and_the_rest_waits(wiring: Wiring, settings: Settings) -> None:
    settings.COMPENSATIONS_PER_SECOND = 10
    refill_bucket(tokens=1)
    clerk = Clerk()
    wiring.consumer({Undo: clerk.joined()})
    for number in range(30):
        say(Undo(number=number), saga_id=uuid7(), step="act", direction=COMPENSATION)

    claimed = relay.run(lane=Lane.COMPENSATIONS, seconds=0.55)

    # One in the bucket and nine a second flowing in.
    assert 4 <= claimed <= 6
    assert clerk.numbers == list(range(claimed))
    assert len(waiting()) == 30 - claimed


def test_the_limit_does_not_touch_forward_traffic(wiring: Wiring, settings: Settings) -> None:
    settings.COMPENSATIONS_PER_SECOND = 1
    wiring.consumer({Act: Bank().effectful(), Noted: Clerk().joined()})
    say(*(Act() for _ in range(50)), *(Noted() for _ in range(50)))

    assert relay.run(lane=Lane.EFFECTS, linger=0) == 50
    assert relay.run(lane=Lane.RELAY, linger=0) == 50


@pytest.mark.usefixtures("_no_redis")
def test_a_dead_redis_stops_no_relay_and_is_counted(wiring: Wiring) -> None:
    clerk, bank = Clerk(lambda _: Acted()), Bank()
    wiring.consumer({Noted: clerk.joined(), Act: bank.effectful()})
    before = lost()
    say(Noted(), Act())

    relay.run(lane=Lane.RELAY, linger=0.05)
    relay.run(lane=Lane.EFFECTS, linger=0.05)

    assert waiting() == []
    assert lost() - before >= 2


@pytest.mark.usefixtures("_no_redis")
def test_a_dead_redis_costs_a_publisher_next_to_nothing(wiring: Wiring) -> None:
    wiring.consumer({Noted: Clerk().joined()})
    before = lost()

    begun = time.monotonic()
    for _ in range(50):
        say(Noted())

    assert time.monotonic() - begun < 1
    assert lost() - before == 50
    assert len(waiting()) == 50


def test_a_hundred_commits_ring_once_while_nobody_comes(wiring: Wiring, sent: list[str]) -> None:
    wiring.consumer({Noted: Clerk().joined()})

    for _ in range(100):
        say(Noted())

    assert sent == [Lane.RELAY]


def test_who_commits_while_a_relay_is_awake_does_not_ring(wiring: Wiring, sent: list[str]) -> None:
    wiring.consumer({Noted: Clerk().joined()})

    with doorbell.awake(Lane.RELAY) as watch:
        watch.keep()
        _in_another_thread(lambda: say(Noted()))
        assert sent == []
        watch.release()
        _in_another_thread(lambda: say(Noted()))

    assert sent == [Lane.RELAY]


def test_after_a_run_the_next_commit_rings_again(wiring: Wiring, sent: list[str]) -> None:
    wiring.consumer({Noted: Clerk().joined()})

    for _ in range(3):
        say(Noted())
        relay.run(lane=Lane.RELAY, linger=0)

    assert sent == [Lane.RELAY] * 3


def test_a_relay_rings_for_the_other_lanes_and_not_for_its_own(wiring: Wiring, sent: list[str]) -> None:
    wiring.consumer(
        {Noted: Clerk(lambda _: Acted()).joined(), Acted: Clerk().joined(), Act: Bank().effectful()}, name="tester"
    )
    say(Noted())
    sent.clear()

    def also_ask(batch: Sequence[Envelope[Any]]) -> list[Outcome]:
        say(Act())
        return [Acted() for _ in batch]

    wiring.consumer({Noted: Clerk().joined()}, name="unused")
    wiring.consumer({Noted: _joined(also_ask), Acted: Clerk().joined(), Act: Bank().effectful()}, name="tester")
    relay.run(lane=Lane.RELAY, linger=0)

    assert sent == [Lane.EFFECTS]


def test_a_ring_lost_on_the_way_costs_time_only(wiring: Wiring, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody was rung; the beat looks at every lane each second, and what is due is delivered."""
    clerk = Clerk()
    wiring.consumer({Noted: clerk.joined(), Act: clerk.joined(), Undo: clerk.joined()})
    monkeypatch.setattr(doorbell, "ring", lambda *_: None)
    say(Noted(number=1), Act(number=2))
    say(Undo(number=3), saga_id=uuid7(), step="act", direction=COMPENSATION)

    looks = [schedule for schedule in SCHEDULES if schedule.task == "outbox.tasks.relay"]
    for look in looks:
        relay_task(*json.loads(look.args))

    assert {(look.queue, look.every) for look in looks} == {(lane.value, 1) for lane in Lane}
    assert sorted(clerk.numbers) == [1, 2, 3]


def test_a_database_that_is_away_ends_the_run_and_loses_nothing(
    wiring: Wiring, monkeypatch: pytest.MonkeyPatch
) -> None:
    clerk = Clerk()
    wiring.consumer({Noted: clerk.joined()})
    ids = say(Noted(number=1))
    with monkeypatch.context() as patch:
        patch.setattr(relay, "deliver", _raise_operational_error)
        with pytest.raises(OperationalError):
            relay.run(lane=Lane.RELAY, linger=0)
    assert waiting() == ids
    assert doorbell._redis().exists("saga-bridge:awake:relay") == 0

    relay.run(lane=Lane.RELAY, linger=0)

    assert clerk.numbers == [1]


def test_a_consumer_whose_messages_all_fail_does_not_starve_the_others(wiring: Wiring) -> None:
    fine = Clerk()
    wiring.consumer({Noted: Clerk(lambda _: 1 / 0).joined()}, name="broken")  # type: ignore[arg-type, return-value]
    wiring.consumer({Noted: fine.joined()}, name="fine")
    say(*(Noted(number=number) for number in range(20)))

    relay.run(lane=Lane.RELAY, linger=0)
    make_due()
    relay.run(lane=Lane.RELAY, linger=0)

    assert sorted(fine.numbers) == list(range(20))


def _joined(handle: Any) -> Any:
    clerk = Clerk().joined()
    object.__setattr__(clerk, "handle", handle)
    return clerk


def _in_another_thread(work: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from django.db import connections

    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(run).result()


def _raise_operational_error(**_: Any) -> int:
    raise OperationalError("the server is away")
