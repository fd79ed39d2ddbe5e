"""What is said arrives as it was said, and a reader survives words that it does not know yet."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, get_args, get_origin
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.routing import ROUTING
from outbox.contracts import ACTION, COMPENSATION, Direction, Envelope, Message, decode, encode
from sagas.testing import sample
from tests.unit.sagas.trips import HoldPassports

MESSAGES = list(ROUTING.types.values())
ORDER, SAGA = UUID(int=1), UUID(int=2)

SIMPLE: Mapping[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-(2**63), 2**63 - 1),
    str: st.text(),
    bool: st.booleans(),
    UUID: st.uuids(),
}


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    if kind in SIMPLE:
        return SIMPLE[kind]
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if get_origin(kind) is tuple:
        return st.lists(values_of(get_args(kind)[0]), max_size=5).map(tuple)
    return st.builds(kind, **{field.name: values_of(field.type) for field in msgspec.structs.fields(kind)})


def sent_by(*, direction: Direction | None, step: str = "charge-payment", attempt: int = 1) -> Envelope[Message]:
    return Envelope(
        id=UUID(int=attempt),
        source="sagas",
        subject=ORDER,
        time=datetime(2026, 1, 1, tzinfo=UTC),
        data=sample(HoldPassports),
        attempt=attempt,
        correlation_id=SAGA,
        step=step,
        direction=direction,
    )


@pytest.mark.parametrize("message_type", MESSAGES, ids=lambda m: m.__name__)
@settings(max_examples=25, deadline=None, database=None)
@given(data=st.data())
def test_every_message_arrives_as_it_was_said(message_type: type[Message], data: st.DataObject) -> None:
    message = data.draw(values_of(message_type))

    assert decode(message_type, encode(message)) == message


@pytest.mark.parametrize("message_type", MESSAGES, ids=lambda m: m.__name__)
def test_a_field_can_be_added_in_peace(message_type: type[Message]) -> None:
    message = sample(message_type)
    later = {**msgspec.to_builtins(message), "added_in_a_later_release": {"deep": [1, 2]}}

    assert decode(message_type, msgspec.json.encode(later)) == message


@pytest.mark.parametrize("message_type", MESSAGES, ids=lambda m: m.__name__)
def test_a_missing_or_wrong_field_is_refused(message_type: type[Message]) -> None:
    name = next(field.name for field in msgspec.structs.fields(message_type) if field.required)
    whole = msgspec.to_builtins(sample(message_type))

    broken_ones: list[Any] = [{k: v for k, v in whole.items() if k != name}, {**whole, name: None}, [], "text"]

    for broken in broken_ones:
        with pytest.raises(msgspec.ValidationError):
            decode(message_type, msgspec.json.encode(broken))
    with pytest.raises(msgspec.DecodeError):
        decode(message_type, b"{")


@pytest.mark.parametrize("message_type", MESSAGES, ids=lambda m: m.__name__)
def test_a_message_cannot_be_changed(message_type: type[Message]) -> None:
    message = sample(message_type)

    with pytest.raises(AttributeError):
        setattr(message, msgspec.structs.fields(message_type)[0].name, "changed")


def test_the_step_key_is_the_same_for_every_retry() -> None:
    first, second = sent_by(direction=ACTION), sent_by(direction=ACTION, attempt=2)

    assert first.step_key == second.step_key == f"{ORDER}-{SAGA}-charge-payment"


def test_the_step_key_tells_directions_and_generations_apart() -> None:
    keys = {
        sent_by(direction=direction, step=step).step_key
        for direction in (ACTION, COMPENSATION)
        for step in ("charge-payment", "charge-payment~2", "refund-payment")
    }

    assert len(keys) == 6


@pytest.mark.parametrize("step", ["charge-payment", "charge-payment~2", "charge-payment~13"])
def test_a_compensation_undoes_the_one_action_whichever_attempt_it_is(step: str) -> None:
    action, compensation = sent_by(direction=ACTION), sent_by(direction=COMPENSATION, step=step)

    assert compensation.action_key == action.step_key
    assert compensation.step_key == f"{ORDER}-{SAGA}-{step}-compensation"
