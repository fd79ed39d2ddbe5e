"""One limit for all workers, whichever second one looks at, by the clock of the database."""

import time
from collections.abc import Iterable
from itertools import chain

import pytest
from django.db import transaction
from pytest_django import Settings

from outbox import bucket
from outbox.models import TokenBucket
from tests.messaging import execute, refill_bucket
from tests.threads import side_by_side

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["outbox"])

WORKERS, SECONDS = 4, 2.0


def take_for_a_while(wanted: int) -> list[tuple[float, int]]:
    """Take as much as there is for two seconds; return when, to the database, how much was granted."""
    granted = []
    stop_at = time.monotonic() + SECONDS
    while time.monotonic() < stop_at:
        with transaction.atomic():
            tokens = bucket.of_compensations().take(wanted)
            [(at,)] = execute("SELECT extract(epoch FROM refilled_at)::float FROM outbox_tokenbucket")
        if tokens:
            granted.append((at, tokens))
        else:
            time.sleep(0.002)
    return granted


def fullest_second(granted: Iterable[tuple[float, int]]) -> int:
    """Return the most that was granted within any window of one second."""
    in_order = sorted(granted)
    return max(sum(tokens for at, tokens in in_order if begin <= at < begin + 1) for begin, _ in in_order)


@pytest.mark.parametrize(("limit", "wanted"), [(50, 3), (200, 32)])
def test_four_workers_together_never_exceed_the_limit_in_any_second(
    settings: Settings, limit: int, wanted: int
) -> None:
    settings.COMPENSATIONS_PER_SECOND = limit
    refill_bucket(tokens=limit)

    granted = chain(*side_by_side([lambda: take_for_a_while(wanted)] * WORKERS))

    assert 0.8 * limit <= fullest_second(granted) <= limit


@pytest.mark.parametrize("limit", [1, 3, 10, 200])
def test_no_second_can_hold_more_than_the_limit(settings: Settings, limit: int) -> None:
    """What the bucket holds and what flows in within a second make the limit at most."""
    settings.COMPENSATIONS_PER_SECOND = limit
    refill_bucket(tokens=10 * limit)
    full = bucket.of_compensations().take(10 * limit)
    execute("UPDATE outbox_tokenbucket SET refilled_at = clock_timestamp() - interval '0.999 s'")

    assert full + bucket.of_compensations().take(10 * limit) <= limit


def test_the_clock_is_that_of_the_database(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.COMPENSATIONS_PER_SECOND = 10
    refill_bucket(tokens=0)
    monkeypatch.setattr("time.time", lambda: 4e9)
    monkeypatch.setattr("time.monotonic", lambda: 4e9)

    assert bucket.of_compensations().take(10) == 0
    execute("UPDATE outbox_tokenbucket SET refilled_at = clock_timestamp() - interval '1 s'")

    assert bucket.of_compensations().take(10) == 1


def test_what_was_not_used_is_given_back_and_what_overflows_is_lost(settings: Settings) -> None:
    settings.COMPENSATIONS_PER_SECOND = 100
    refill_bucket(tokens=10)

    assert bucket.of_compensations().take(8) == 8
    bucket.of_compensations().give_back(5)
    bucket.of_compensations().give_back(0)
    assert TokenBucket.objects.get().tokens == pytest.approx(7, abs=2)
    bucket.of_compensations().give_back(1000)

    assert bucket.of_compensations().take(1000) == 10
