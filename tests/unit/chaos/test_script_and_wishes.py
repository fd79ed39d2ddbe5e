"""The script and the wishes are functions of the seed alone, and hold what the experiment promises."""

from __future__ import annotations

from bench.chaos import script, wishes
from bench.chaos.script import CALM, Kind


def test_a_seed_always_means_the_same_run() -> None:
    assert script.draw(seed=7, seconds=60) == script.draw(seed=7, seconds=60)
    assert script.draw(seed=7, seconds=60) != script.draw(seed=8, seconds=60)
    drawn = [wishes.draw(seed=seed, seconds=30, rate=10, customers=5) for seed in (7, 7, 8)]
    assert drawn[0] == drawn[1]
    assert [w.key for w in drawn[0]] != [w.key for w in drawn[2]]


def test_a_process_dies_every_two_seconds_and_every_role_sooner_or_later() -> None:
    events = script.draw(seed=1, seconds=600)

    kills = [event for event in events if event.kind in (Kind.KILL, Kind.KILL_CHILD)]

    assert [event.at for event in kills] == [2.0 * n for n in range(1, 300)]
    assert {(event.kind, event.target) for event in kills} == {
        (kind, role) for kind in (Kind.KILL, Kind.KILL_CHILD) for role in script.ROLES
    }


def test_servers_are_restarted_and_every_link_suffers_and_is_mended() -> None:
    events = script.draw(seed=1, seconds=600)

    restarts = [event.target for event in events if event.kind is Kind.RESTART]
    weather = [event for event in events if event.kind is Kind.WEATHER]

    assert (restarts.count("postgres"), restarts.count("valkey")) == (2, 3)
    assert {event.target for event in weather} == set(script.LINKS)
    last = {event.target: event.weather for event in weather}
    assert all(state == CALM for state in last.values())
    assert all(0 < event.at <= 600 for event in events)
    assert [event.at for event in events] == sorted(event.at for event in events)


def test_orders_come_at_a_constant_rate_with_a_key_each() -> None:
    drawn = wishes.draw(seed=1, seconds=60, rate=15, customers=20)

    assert len(drawn) == 900
    assert [wish.at for wish in drawn] == [n / 15 for n in range(900)]
    assert len({wish.key for wish in drawn}) == 900
    assert {wish.later for wish in drawn} == {"", "cancel", "returns"}
    assert {wish.clicks for wish in drawn} == {1, 2}


def test_no_customer_orders_the_same_twice_within_a_second() -> None:
    last: dict[tuple[int, tuple[tuple[str, int], ...]], float] = {}

    for wish in wishes.draw(seed=1, seconds=600, rate=15, customers=20):
        intent = wish.customer, tuple(sorted(wish.items.items()))
        assert wish.at - last.get(intent, -10) > 1
        last[intent] = wish.at


def test_the_scarce_product_is_there_for_half_of_those_who_want_it() -> None:
    drawn = wishes.draw(seed=1, seconds=60, rate=15, customers=20)

    wanted = sum(wish.items.get(wishes.SCARCE, 0) for wish in drawn)

    assert wishes.stock(drawn)[wishes.SCARCE] == wanted // 2 > 10
