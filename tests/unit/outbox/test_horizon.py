"""Where a relay begins to look: at the beginning while that is cheap, further on while it is not."""

from datetime import UTC, datetime, timedelta

import pytest

from outbox.horizon import BEGINNING, MARGIN, Horizon

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
TYPES = ("test.noted",)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> "Clock":
    """Let time stand still but when a test moves it."""
    clock = Clock()
    monkeypatch.setattr("outbox.horizon.time.monotonic", lambda: clock.now)
    return clock


class Clock:
    """A monotonic clock."""

    now = 1_000.0


def look(places: Horizon, clock: Clock, *, took: float, due: datetime | None) -> datetime:
    """Look once, which takes so long and finds one row or none; return where it began."""
    with places.look("analytics", TYPES) as one:
        clock.now += took
        one.found([due] if due else [])
    return one.floor


def test_a_cheap_look_is_followed_by_one_from_the_beginning(clock: Clock) -> None:
    places = Horizon()

    floors = [look(places, clock, took=0.001, due=AT) for _ in range(3)]

    assert floors == [BEGINNING] * 3


def test_a_look_that_costs_much_is_followed_by_looks_from_where_it_found_something(clock: Clock) -> None:
    places = Horizon()
    look(places, clock, took=0.02, due=AT)

    second = look(places, clock, took=0.001, due=AT + timedelta(seconds=5))
    third = look(places, clock, took=0.001, due=None)

    assert second == AT - MARGIN
    assert third == AT + timedelta(seconds=5) - MARGIN


@pytest.mark.parametrize(("took", "apart"), [(0.02, 0.4), (0.2, 1.0)])
def test_every_so_often_a_look_begins_at_the_beginning_again(clock: Clock, took: float, apart: float) -> None:
    places = Horizon()
    look(places, clock, took=took, due=AT)

    clock.now += apart - 0.01
    before = look(places, clock, took=0.0, due=None)
    clock.now += 0.02
    after = look(places, clock, took=0.0, due=None)

    assert (before, after) == (AT - MARGIN, BEGINNING)


def test_a_look_that_finds_nothing_moves_nothing(clock: Clock) -> None:
    places = Horizon()

    look(places, clock, took=0.02, due=None)

    assert look(places, clock, took=0.0, due=None) == BEGINNING


def test_who_has_nothing_to_do_is_asked_again_from_then_on(clock: Clock) -> None:
    places = Horizon()
    with places.look_at_all(["analytics", "orders"]) as looks:
        clock.now += 0.02
        looks["analytics"].first = AT

    with places.look_at_all(["analytics", "orders"]) as again:
        floors = {name: one.floor for name, one in again.items()}

    assert floors == {"analytics": AT - MARGIN, "orders": BEGINNING}
