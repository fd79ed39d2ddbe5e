"""A key of the outside world names a place in a saga, and no other text does."""

import pytest
from uuid_utils.compat import uuid7

from outbox.contracts import ACTION, COMPENSATION, Direction
from outbox.places import place_of
from tests.factories.envelopes import envelope
from tests.messaging import Act

ORDER, SAGA = uuid7(), uuid7()


@pytest.mark.parametrize("direction", [ACTION, COMPENSATION])
@pytest.mark.parametrize("step", ["charge-payment", "charge-payment~2", "undo-compensation-fee"])
def test_a_key_is_read_as_it_was_made(step: str, direction: Direction) -> None:
    command = envelope(Act(), subject=ORDER, saga_id=SAGA, step=step, direction=direction)

    place = place_of(command.step_key)

    assert place is not None
    assert (place.order_id, place.saga_id, place.step, place.direction) == (ORDER, SAGA, step, direction)
    assert place.action_key == command.action_key


def test_all_who_undo_a_step_do_so_under_one_key() -> None:
    undoing = [
        envelope(Act(), subject=ORDER, saga_id=SAGA, step=step, direction=COMPENSATION) for step in ("pay", "pay~2")
    ]

    places = [place_of(one.step_key) for one in undoing]

    assert {place.compensation_key for place in places if place} == {f"{ORDER}-{SAGA}-pay-compensation"}


@pytest.mark.parametrize(
    "key", ["", "by-hand", "x", f"{'0' * 8}-pay", "-".join(["00000000-0000-0000-0000-000000000000"] * 2), "ö" * 80]
)
def test_another_text_is_no_place(key: str) -> None:
    assert place_of(key) is None
