"""While a gateway is away its messages wait: no attempt is counted, nobody is called but for one probe at a time."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from prometheus_client import REGISTRY
from pytest_django import Settings
from uuid_utils.compat import uuid7

from outbox import breaker, bucket, relay
from outbox.consumers import OUTAGE, Effectful, RetryPolicy, TransientError
from outbox.contracts import COMPENSATION, Envelope, Event
from outbox.effects import LOST_TRIES
from outbox.models import Delivery, Lane
from outbox.selectors import held_up_by_outage
from tests.messaging import (
    LONG,
    TWICE,
    Act,
    ActFailed,
    Bank,
    Undo,
    Wiring,
    drain,
    execute,
    make_due,
    rest_of,
    say,
    trail,
    waiting,
)

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["outbox"])

GATEWAY = "bank"


class Away:
    """An outside world that can be away, asked through the breaker as every gateway is."""

    def __init__(self) -> None:
        self.is_away = True
        self.calls: list[Envelope[Any]] = []
        self._lock = threading.Lock()

    def __call__(self, envelope: Envelope[Any]) -> str:
        """Answer, or fail as `outbox.outside` does."""
        view = breaker.ask(gateway=GATEWAY, probe_seconds=5)
        if view.refuses:
            raise TransientError("not called", retry_after=view.rest(), is_outage=True)
        with self._lock:
            self.calls.append(envelope)
        if not self.is_away:
            breaker.succeeded(gateway=GATEWAY, was_probe=view.may_probe)
            return "yes"
        view = breaker.failed(gateway=GATEWAY, was_probe=view.may_probe)
        raise TransientError("no answer", retry_after=view.rest() if view.is_open else 0, is_outage=view.is_open)


@pytest.fixture(autouse=True)
def quick_probes(settings: Settings) -> None:
    settings.BREAKER_PROBE_SECONDS = 0.3


@pytest.fixture
def away() -> Away:
    return Away()


def effectful(away: Away, policy: RetryPolicy = TWICE, *, calls: int = 1, **options: Any) -> Effectful:
    return Effectful(call=away, record=Bank(away).record, policy=policy, gateway=GATEWAY, calls=calls, **options)


def give_up(_: Envelope[Any], error: str) -> Event:
    return ActFailed(reason="unavailable", detail=error, definite=False)


def open_it() -> None:
    for _ in range(breaker.FAILURES_TO_OPEN):
        breaker.failed(gateway=GATEWAY, was_probe=False)


def run_for(seconds: float) -> None:
    relay.run(lane=Lane.EFFECTS, seconds=seconds, linger=seconds)


def run_until(is_so: Callable[[], bool]) -> None:
    limit = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < limit
        run_for(0.1)


def deliveries() -> list[tuple[int, str]]:
    return list(Delivery.objects.order_by("id").values_list("attempts", "error_class"))


def test_an_order_that_is_alone_in_the_shop_survives_an_outage(wiring: Wiring, away: Away) -> None:
    policy = RetryPolicy(attempts=4, base=timedelta(milliseconds=10), cap=timedelta(milliseconds=10))
    wiring.consumer({Act: effectful(away, policy, give_up=give_up)})
    [message_id] = say(Act(), saga_id=uuid7(), step="act")

    run_until(lambda: len(away.calls) >= 5)

    assert breaker.statuses()[0].state == "open"
    assert deliveries() == [(2, OUTAGE)]
    assert trail(message_id) == [(1, "retry", "TransientError"), (2, "retry", "TransientError")]
    away.is_away = False
    run_until(lambda: waiting() == [])
    assert len(trail(message_id)) == 2
    assert breaker.statuses()[0].state == "closed"


def test_a_crowd_waits_without_a_call_and_without_attempts(wiring: Wiring, away: Away) -> None:
    wiring.consumer({Act: effectful(away)})
    open_it()
    say(*(Act(number=number) for number in range(200)))

    begun = time.monotonic()
    run_until(lambda: len(away.calls) >= 3)
    lasted = time.monotonic() - begun

    assert deliveries() == [(0, OUTAGE)] * 200
    assert len(away.calls) <= lasted / 0.3 + 1
    assert all(envelope.attempt == 1 for envelope in away.calls)
    probes = len(away.calls)
    away.is_away = False
    run_until(lambda: waiting() == [])
    assert len(away.calls) <= probes + 201


def test_what_waits_alone_is_probed_with_though_the_gateway_takes_another_kind_of_call_too(
    wiring: Wiring, away: Away
) -> None:
    """Refunds that wait at night, when nobody orders: the charges, of which none waits, must not use up every probe."""
    wiring.consumer({Act: effectful(away), Undo: effectful(away, calls=2)})
    open_it()
    away.is_away = False
    say(Undo(), saga_id=uuid7(), step="act", direction=COMPENSATION)

    relay.run(lane=Lane.COMPENSATIONS, seconds=4, linger=4)

    assert waiting() == []
    assert len(away.calls) == 1


def test_who_was_called_in_vain_is_asked_for_by_key_next_time(wiring: Wiring, away: Away) -> None:
    """The probe may have been carried out although its try does not count."""
    wiring.consumer({Act: effectful(away)})
    open_it()
    say(Act())
    run_until(lambda: len(away.calls) > 0)
    away.is_away = False
    run_until(lambda: waiting() == [])

    first, *_, last = away.calls
    assert (first.attempt, last.attempt) == (1, 1)
    assert last.is_retry


def test_a_wait_costs_a_statement_for_each_probe_and_not_for_each_look(
    wiring: Wiring, away: Away, settings: Settings
) -> None:
    settings.BREAKER_PROBE_SECONDS = 60
    wiring.consumer({Act: effectful(away)})
    open_it()
    say(*(Act(number=number) for number in range(300)))

    with CaptureQueriesContext(connection) as queries:
        run_for(1)

    put_off = [query for query in queries.captured_queries if "early AS MATERIALIZED" in query["sql"]]
    claims = [query for query in queries.captured_queries if "claimed AS" in query["sql"]]
    assert (len(put_off), len(claims)) == (1, 0)
    assert timedelta(seconds=58) < rest_of(waiting()[0])
    rests = execute("SELECT available_at FROM outbox_delivery")
    assert len({at for (at,) in rests}) > 250


def test_waiting_brings_no_message_closer_to_being_suspected(wiring: Wiring, away: Away) -> None:
    wiring.consumer({Act: effectful(away, give_up=give_up)})
    open_it()
    [message_id] = say(Act(), saga_id=uuid7(), step="act")
    for _ in range(TWICE.attempts + LOST_TRIES + 3):
        time.sleep(0.31)
        make_due()
        run_for(0.3)

    assert deliveries() == [(0, OUTAGE)]
    assert trail(message_id) == []


def test_a_time_that_the_service_names_is_kept_even_by_a_single_message(wiring: Wiring) -> None:
    def busy(_: Envelope[Any]) -> object:
        raise TransientError("too many requests", retry_after=40)

    wiring.consumer({Act: Bank(busy).effectful(RetryPolicy(base=timedelta(seconds=1), cap=timedelta(seconds=1)))})
    [message_id] = say(Act())

    drain(Lane.EFFECTS)

    assert timedelta(seconds=39) < rest_of(message_id) <= timedelta(seconds=41)
    assert trail(message_id) == [(1, "retry", "TransientError")]


def test_what_waits_for_the_end_of_an_outage_is_known_with_all_behind_it(wiring: Wiring, away: Away) -> None:
    wiring.consumer({Act: effectful(away), Undo: effectful(away)})
    open_it()
    key, other, saga_id = uuid7(), uuid7(), uuid7()
    [action] = say(Act(), key=key, saga_id=saga_id, step="act")
    run_until(lambda: deliveries() == [(0, OUTAGE)])
    [compensation] = say(Undo(), key=key, saga_id=saga_id, step="act", direction="compensation")
    [fresh] = say(Act(), key=other)

    assert held_up_by_outage(ordering_keys=[key, other]) == {action, compensation}

    execute("UPDATE outbox_delivery SET token = %s, available_at = now() + interval '5 s' WHERE message_id = %s",
            uuid7(), fresh)  # fmt: skip
    assert held_up_by_outage(ordering_keys=[other]) == {fresh}
    execute("UPDATE outbox_delivery SET available_at = now() WHERE message_id = %s", fresh)
    assert held_up_by_outage(ordering_keys=[other]) == set()


def test_another_gateway_is_called_meanwhile(wiring: Wiring, away: Away) -> None:
    other = Bank()
    wiring.consumer({Act: effectful(away)}, name="first")
    wiring.consumer({Undo: other.effectful()}, name="second")
    open_it()
    say(Act())
    say(Undo())

    run_until(lambda: len(other.calls) > 0)

    assert len(other.calls) == 1


@pytest.mark.parametrize("calls", [1, 2])
def test_after_an_outage_a_gateway_sees_no_more_than_its_limit(
    wiring: Wiring, away: Away, settings: Settings, calls: int
) -> None:
    settings.GATEWAY_CALLS_PER_SECOND = 40
    at: list[float] = []
    away.is_away = False

    def call(envelope: Envelope[Any]) -> str:
        at.append(time.monotonic())
        return away(envelope)

    handler = Effectful(call=call, record=Bank(away).record, gateway=GATEWAY, calls=calls)
    wiring.consumer({Act: handler})
    before = REGISTRY.get_sample_value("gateway_throttled_total", {"gateway": GATEWAY}) or 0
    say(*(Act(number=number) for number in range(90 // calls)))

    run_until(lambda: waiting() == [])

    fullest = max(sum(begin <= moment < begin + 1 for moment in at) for begin in at)
    assert fullest * calls <= 40
    assert REGISTRY.get_sample_value("gateway_throttled_total", {"gateway": GATEWAY}) > before  # type: ignore[operator]


def test_the_limit_of_a_gateway_never_lets_through_half_a_message(settings: Settings, wiring: Wiring) -> None:
    settings.GATEWAY_CALLS_PER_SECOND = 10
    limit = bucket.of_gateway(GATEWAY, calls=3)
    assert limit is not None
    assert limit.take(5) == 0, "a new bucket begins empty"

    execute("UPDATE outbox_tokenbucket SET refilled_at = refilled_at - interval '1 hour' WHERE name = %s", GATEWAY)

    assert limit.take(5) == 1
    assert limit.take(5) == 0
    limit.give_back(1)
    assert limit.take(1) == 1
    settings.GATEWAY_CALLS_PER_SECOND = 0
    assert bucket.of_gateway(GATEWAY, calls=3) is None


def test_redis_away_means_that_attempts_are_counted_as_ever(
    wiring: Wiring, away: Away, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    monkeypatch.setattr(breaker, "_client", None)
    wiring.consumer({Act: effectful(away, RetryPolicy(attempts=3, base=LONG, cap=LONG), give_up=give_up)})
    [message_id] = say(Act())

    for _ in range(4):
        drain(Lane.EFFECTS)
        make_due()

    assert [decision for _, decision, _ in trail(message_id)] == ["retry", "retry", "given_up"]
