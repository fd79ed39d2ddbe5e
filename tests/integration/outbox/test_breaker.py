"""The breaker of a gateway: when it opens, who may probe, when it closes, and what it is without Redis."""

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY
from pytest_django import Settings

from config.local.ports import free_port
from outbox import breaker
from outbox.breaker import CLOSED, BreakerUnreachable, Status, UnknownGateway, View
from outbox.metrics import BREAKER_OPEN
from tests.threads import side_by_side

GATEWAY = "bank"
PROBE_SECONDS = 0.3


@pytest.fixture(autouse=True)
def quick_probes(settings: Settings) -> None:
    settings.BREAKER_PROBE_SECONDS = PROBE_SECONDS


@pytest.fixture
def no_redis(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    monkeypatch.setattr(breaker, "_client", None)


def ask() -> View:
    return breaker.ask(gateway=GATEWAY, probe_seconds=5)


def fail(*, was_probe: bool = False, retry_after: float = 0) -> View:
    return breaker.failed(gateway=GATEWAY, was_probe=was_probe, retry_after=retry_after)


def succeed(*, was_probe: bool = False) -> None:
    breaker.succeeded(gateway=GATEWAY, was_probe=was_probe)


def open_it(**options: float) -> View:
    return [fail(**options) for _ in range(breaker.FAILURES_TO_OPEN)][-1]  # type: ignore[arg-type]


def wait_for(is_so: Callable[[], bool]) -> None:
    limit = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < limit
        time.sleep(0.01)


def gauge() -> float | None:
    return REGISTRY.get_sample_value("circuit_breaker_open", {"gateway": GATEWAY})


def test_it_opens_after_three_failures_in_a_row() -> None:
    assert [fail().is_open for _ in range(3)] == [False, False, True]

    assert ask().refuses
    assert gauge() == 1


def test_any_success_ends_the_row() -> None:
    fail()
    fail()

    succeed()

    assert not fail().is_open
    assert not fail().is_open
    assert ask() == CLOSED


def test_gateways_have_breakers_of_their_own() -> None:
    open_it()

    assert breaker.ask(gateway="carrier", probe_seconds=5) == CLOSED


def test_of_all_who_ask_after_the_rest_exactly_one_probes() -> None:
    open_it()
    wait_for(lambda: not breaker.look(gateway=GATEWAY).refuses)

    views = side_by_side([ask] * 20)

    assert Counter(view.may_probe for view in views) == {True: 1, False: 19}
    assert all(view.refuses for view in views if not view.may_probe)


def test_a_probe_that_succeeds_closes_it() -> None:
    open_it()
    wait_for(lambda: ask().may_probe)

    succeed(was_probe=True)

    assert ask() == CLOSED
    assert gauge() == 0
    assert not fail().is_open, "the row of failures begins anew"


def test_a_probe_that_fails_begins_another_rest() -> None:
    open_it()
    wait_for(lambda: ask().may_probe)

    view = fail(was_probe=True)

    assert view.refuses
    assert 0 < view.left <= PROBE_SECONDS
    assert ask().refuses
    wait_for(lambda: ask().may_probe)


def test_a_probe_that_never_reports_is_followed_by_another() -> None:
    open_it()
    wait_for(lambda: breaker.ask(gateway=GATEWAY, probe_seconds=0.2).may_probe)

    assert ask().refuses

    wait_for(lambda: ask().may_probe)


def test_an_answer_to_a_call_from_before_does_not_close_it_and_a_failure_does_not_delay_the_probe() -> None:
    before = open_it()

    succeed()
    after = fail()

    assert after.refuses
    assert after.left <= before.left


def test_a_service_that_names_a_time_is_not_probed_before() -> None:
    view = open_it(retry_after=60)

    assert 59 < view.left <= 60


def test_those_who_wait_come_back_after_the_probe_and_not_at_once() -> None:
    view = View(is_open=True, left=1, open_for=40)

    rests = [view.rest() for _ in range(1_000)]

    assert min(rests) >= 1
    assert max(rests) <= 11
    assert max(rests) - min(rests) > 5
    assert View(is_open=True, open_for=1e6).spread == breaker.MOST_SPREAD_SECONDS


def test_one_of_those_who_look_learns_that_a_probe_is_due_and_looking_takes_nothing() -> None:
    open_it()
    wait_for(lambda: breaker.look(gateway=GATEWAY).may_probe)

    assert breaker.look(gateway=GATEWAY).refuses
    assert ask().may_probe


def test_who_had_nothing_to_probe_with_leaves_it_to_the_next() -> None:
    open_it()
    wait_for(lambda: breaker.look(gateway=GATEWAY).may_probe)

    breaker.look_again(gateway=GATEWAY)

    assert breaker.look(gateway=GATEWAY).may_probe
    assert breaker.look(gateway=GATEWAY).refuses


@pytest.mark.usefixtures("no_redis")
def test_without_redis_every_call_passes_and_nobody_waits_for_it() -> None:
    before = REGISTRY.get_sample_value("circuit_breaker_blind_total", {"gateway": GATEWAY}) or 0
    open_it()
    begun = time.monotonic()

    views = [ask() for _ in range(200)]

    assert set(views) == {CLOSED}
    assert time.monotonic() - begun < 5
    assert REGISTRY.get_sample_value("circuit_breaker_blind_total", {"gateway": GATEWAY}) == before + 200
    succeed()
    assert breaker.look(gateway=GATEWAY) == CLOSED
    assert breaker.statuses() == [Status("bank", "unknown"), Status("carrier", "unknown")]
    with pytest.raises(BreakerUnreachable):
        breaker.close(gateway=GATEWAY, operator="ada")


def test_operators_see_every_breaker() -> None:
    fail()
    assert breaker.statuses() == [Status("bank", "closed", 1), Status("carrier", "closed")]

    fail()
    fail()

    [bank, _] = breaker.statuses()
    assert (bank.state, bank.held_by) == ("open", "")
    assert bank.since is not None
    assert bank.next_probe_at is not None
    assert abs(bank.since - datetime.now(UTC)) < timedelta(minutes=1)
    assert bank.next_probe_at - bank.since == timedelta(seconds=PROBE_SECONDS)


def test_an_operator_closes_it_at_once() -> None:
    open_it(retry_after=300)

    breaker.close(gateway=GATEWAY, operator="ada")

    assert ask() == CLOSED
    assert gauge() == 0


def test_what_an_operator_holds_open_nobody_probes_and_no_success_closes() -> None:
    breaker.hold_open(gateway=GATEWAY, operator="ada")
    time.sleep(2 * PROBE_SECONDS)

    view = ask()
    succeed(was_probe=True)

    assert view.refuses
    assert view.left == breaker.HELD_SECONDS
    assert ask().refuses
    [bank, _] = breaker.statuses()
    assert (bank.state, bank.held_by, bank.next_probe_at) == ("held open", "ada", None)
    breaker.close(gateway=GATEWAY, operator="ada")
    assert ask() == CLOSED


def test_a_gateway_that_nobody_calls_has_no_breaker() -> None:
    with pytest.raises(UnknownGateway, match="there are: bank, carrier"):
        breaker.hold_open(gateway="post", operator="ada")


def test_the_gauge_is_measured_for_a_breaker_that_another_process_opened() -> None:
    open_it()
    BREAKER_OPEN.labels(GATEWAY).set(0)

    breaker.refresh_gauges()

    assert gauge() == 1
