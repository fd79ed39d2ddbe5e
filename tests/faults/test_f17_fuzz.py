"""F17: every consumer under random input. Each message type of each registered consumer, sagas and all.

The database keeps JSON, so that is what can arrive: any JSON in the place of the payload or the headers, and payloads
that are well-formed and absurd. The relay survives, and what is not done is dead with its error.
"""

from __future__ import annotations

import json
from typing import Any, get_args, get_origin
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outbox.consumers import CONSUMERS
from outbox.contracts import ACTION, COMPENSATION, Message, MessageDeadLettered
from outbox.models import Delivery
from outbox.models import Message as Row
from outbox.publishing import lane_of
from tests.faults.test_f17_poison import deliver_all, write
from tests.messaging import dead, refill_bucket, trail

pytestmark = pytest.mark.django_db(transaction=True)

# At most so many messages of each type in one example; all of an example are delivered together.
EACH = 3
fuzzed = settings(max_examples=6, deadline=None, database=None, suppress_health_check=list(HealthCheck))

# PostgreSQL's JSON holds neither the character NUL nor half of a surrogate pair.
texts = st.text(st.characters(exclude_characters="\x00", categories=("L", "M", "N", "P", "S", "Z", "Cc")), max_size=30)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
absurd: dict[type, st.SearchStrategy[Any]] = {
    int: st.integers() | st.sampled_from([-1, 0, 2**31, 2**63, -(2**63) - 1, 10**40]),
    str: texts | st.sampled_from(["", " ", "../../etc/passwd", "'; DROP TABLE x; --", "\u202e", "x" * 100_000]),
    bool: st.booleans(),
    UUID: st.uuids() | st.just(UUID(int=0)) | st.just(UUID(int=2**128 - 1)),
}


def sensible(kind: Any) -> st.SearchStrategy[Any]:
    """Return values that fit a type and mean nothing."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        fields = msgspec.structs.fields(kind)
        return st.fixed_dictionaries({field.encode_name: sensible(field.type) for field in fields})
    if kind in absurd:
        return absurd[kind]
    if get_origin(kind) is tuple:
        return st.lists(sensible(get_args(kind)[0]), max_size=4)
    return values


def payloads(kind: type[Message]) -> st.SearchStrategy[Any]:
    """Return payloads for a message: anything at all, with wrong or missing fields, or well-formed."""
    fields = [field.encode_name for field in msgspec.structs.fields(kind)]
    some = st.dictionaries(st.sampled_from(fields) | texts, values, max_size=5) if fields else values
    return values | some | sensible(kind)


headers: st.SearchStrategy[Any] = (
    st.just({})
    | st.fixed_dictionaries({"step": texts, "direction": st.sampled_from([ACTION, COMPENSATION])})
    | st.fixed_dictionaries({"step": st.sampled_from(["reserve-inventory", "charge-payment", "create-shipment"])})
    | values
)


@pytest.fixture(autouse=True)
def instant_outside_world(settings: Any) -> None:
    """Let calls of bank and carrier answer at once, and compensations flow."""
    settings.PAYMENT_GATEWAY = settings.CARRIER = "instant"
    settings.COMPENSATIONS_PER_SECOND = 100_000
    refill_bucket(1_000)


@pytest.mark.parametrize("name", [consumer.name for consumer in CONSUMERS])
@fuzzed
@given(data=st.data())
def test_f17_whatever_comes_the_relay_survives_and_what_is_not_done_is_dead(name: str, data: st.DataObject) -> None:
    """Nothing is tried for ever, nothing is lost: each message is settled, or dead with its trail and its notice."""
    written = [
        write_any(name, kind, data) for kind in CONSUMERS[name].handlers for _ in range(data.draw(st.integers(1, EACH)))
    ]

    deliver_all()

    left = set(dead()) & set(written)
    for message_id in left:
        rows = trail(message_id)
        assert (rows[-1][1], rows[-1][0]) == ("dead", len(rows))
        assert Delivery.objects.get(message_id=message_id).error
    notices = set(Row.objects.filter(type=MessageDeadLettered.wire_type).values_list("id", flat=True))
    assert told_of() >= left - notices


def write_any(name: str, kind: type[Message], data: st.DataObject) -> UUID:
    """Write a message of this type to this consumer, with whatever is drawn, into the lane it would have."""
    head = data.draw(headers)
    direction = head.get("direction") if isinstance(head, dict) else None
    lane = lane_of(destination=name, message_type=kind, direction=direction if direction == COMPENSATION else ACTION)
    return write(
        kind.wire_type,
        payload=json.dumps(data.draw(payloads(kind)), default=str),
        headers=json.dumps(head),
        kind=kind.kind,
        lane=str(lane),
        saga_id=data.draw(st.none() | st.just(uuid4())),
        destination=name,
    )


def told_of() -> set[UUID]:
    """Return the messages that a notice of a dead letter names."""
    rows = Row.objects.filter(type=MessageDeadLettered.wire_type).values_list("payload", flat=True)
    return {UUID(payload["message_id"]) for payload in rows if isinstance(payload, dict) and _names_one(payload)}


def _names_one(payload: dict[str, Any]) -> bool:
    try:
        UUID(str(payload.get("message_id")))
    except ValueError:
        return False
    return True
