"""Who handles what is said once, by name."""

from collections.abc import Sequence
from typing import Any

import pytest

from outbox.consumers import CONSUMERS, Consumer, Joined, Outcome, Registry
from outbox.contracts import ACTION, COMPENSATION, Direction, Envelope
from outbox.models import Lane
from outbox.publishing import lane_of
from sagas.definition import definitions


def ignore(batch: Sequence[Envelope[Any]]) -> Sequence[Outcome]:
    return [None] * len(batch)


def consumer(name: str) -> Consumer:
    return Consumer(name, {message: Joined(ignore) for message in CONSUMERS["orders"].handlers})


def test_a_consumer_is_known_by_its_name() -> None:
    registry, one = Registry(), consumer("one")

    registry.register(one)

    assert registry["one"] is one
    assert "one" in registry
    assert "other" not in registry
    assert list(registry) == [one]


def test_the_same_consumer_may_register_again() -> None:
    registry, one = Registry(), consumer("one")

    registry.register(one)
    registry.register(one)

    assert list(registry) == [one]


def test_a_name_is_taken_once() -> None:
    registry = Registry()
    registry.register(consumer("one"))

    with pytest.raises(ValueError, match="two consumers are named 'one'"):
        registry.register(consumer("one"))


LANES: list[tuple[str, str, Direction | None, Lane]] = [
    ("payments", "ChargePayment", ACTION, Lane.EFFECTS),
    ("payments", "RefundPayment", ACTION, Lane.EFFECTS),
    ("payments", "RefundPayment", COMPENSATION, Lane.COMPENSATIONS),
    ("inventory", "ReserveInventory", ACTION, Lane.RELAY),
    ("inventory", "ReleaseInventory", COMPENSATION, Lane.COMPENSATIONS),
    ("sagas", "PaymentRefunded", COMPENSATION, Lane.RELAY),
    ("notifications", "OrderConfirmed", None, Lane.EFFECTS),
]


@pytest.mark.parametrize(("destination", "name", "direction", "lane"), LANES)
def test_a_storm_in_one_lane_cannot_starve_another(
    destination: str, name: str, direction: Direction | None, lane: Lane
) -> None:
    message = next(m for m in CONSUMERS[destination].handlers if m.__name__ == name)

    assert lane_of(destination=destination, message_type=message, direction=direction) == lane


def test_the_engine_listens_in_the_lane_that_calls_nobody() -> None:
    engine = CONSUMERS["sagas"]

    assert definitions()
    assert {lane_of(destination="sagas", message_type=m, direction=None) for m in engine.handlers} == {Lane.RELAY}
    assert not engine.deduplicates
