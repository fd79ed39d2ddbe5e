"""An action and its compensation meet at the barrier: whoever comes second knows it, at any interleaving."""

from uuid import UUID

import pytest
from django.db import transaction
from uuid_utils.compat import uuid7

from outbox.claims import Claimed
from outbox.consumers import Consumer
from outbox.contracts import ACTION, COMPENSATION, Direction, Envelope
from outbox.inbox import take_places
from outbox.models import BarrierEntry, InboxEntry
from tests.messaging import Act, Clerk, Noted, Undo, execute
from tests.threads import side_by_side

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["outbox"])

RACES = 60
CONSUMER = Consumer("tester", {Act: Clerk().joined(), Undo: Clerk().joined(), Noted: Clerk().joined()})


def claimed(saga_id: UUID, direction: Direction, delivery_id: int = 1) -> Claimed:
    data = Act() if direction == ACTION else Undo()
    envelope = Envelope(
        id=uuid7(),
        source="test",
        subject=saga_id,
        time=execute("SELECT now()")[0][0],
        data=data,
        correlation_id=saga_id,
        step="act",
        direction=direction,
    )
    return Claimed(delivery_id, 1, envelope.id, "command", data.wire_type, saga_id, saga_id, {}, envelope)


def pass_the_barrier(command: Claimed, *, settled: bool) -> bool:
    """Return whether the command may act; it holds its transaction open for a moment, as handlers do."""
    with transaction.atomic():
        passed = take_places(consumer=CONSUMER, claimed=[command], settled=settled, using="default")
        execute("SELECT pg_sleep(0.001)")
    return bool(passed.fresh)


@pytest.mark.parametrize("settled", [True, False])
def test_an_action_never_runs_after_its_compensation(settled: bool) -> None:
    sagas = [uuid7() for _ in range(RACES)]
    actions = [claimed(saga_id, ACTION) for saga_id in sagas]
    compensations = [claimed(saga_id, COMPENSATION) for saga_id in sagas]

    acted, undone = side_by_side(
        [
            lambda: [pass_the_barrier(command, settled=settled) for command in actions],
            lambda: [pass_the_barrier(command, settled=settled) for command in compensations],
        ]
    )

    assert undone == [True] * RACES
    holders = {(row.saga_id, row.direction): row.message_id for row in BarrierEntry.objects.filter(saga_id__in=sagas)}
    assert len(holders) == 2 * RACES
    for saga_id, action, did_act in zip(sagas, actions, acted, strict=True):
        assert (holders[saga_id, ACTION] == action.message_id) == did_act


def test_one_of_many_copies_passes() -> None:
    sagas = [uuid7() for _ in range(RACES // 3)]
    copies = [[claimed(saga_id, ACTION) for saga_id in sagas] for _ in range(4)]

    passed = side_by_side(
        [lambda mine=mine: [pass_the_barrier(command, settled=True) for command in mine] for mine in copies]  # type: ignore[misc]
    )

    assert [sum(column) for column in zip(*passed, strict=True)] == [1] * len(sagas)


def test_batches_that_share_places_do_not_deadlock() -> None:
    """Two relays take the places of the same sagas, listed in another order."""
    sagas = [uuid7() for _ in range(40)]

    def take_all(backwards: bool) -> int:
        passed = 0
        ordered = sagas[::-1] if backwards else sagas
        for direction in (ACTION, COMPENSATION):
            commands = [claimed(saga_id, direction, number) for number, saga_id in enumerate(ordered)]
            with transaction.atomic():
                passed += len(take_places(consumer=CONSUMER, claimed=commands, settled=True, using="default").fresh)
        return passed

    assert sum(side_by_side([lambda: take_all(False), lambda: take_all(True)] * 2)) == 2 * len(sagas)


def test_one_of_many_copies_of_an_event_passes() -> None:
    events = [
        Envelope(id=uuid7(), source="test", subject=uuid7(), time=execute("SELECT now()")[0][0], data=Noted())
        for _ in range(40)
    ]

    def take_all(backwards: bool) -> int:
        mine = events[::-1] if backwards else events
        rows = [
            Claimed(number, 1, e.id, "event", "test.noted", e.subject, None, {}, e) for number, e in enumerate(mine)
        ]
        with transaction.atomic():
            return len(take_places(consumer=CONSUMER, claimed=rows, settled=True, using="default").fresh)

    assert sum(side_by_side([lambda: take_all(False), lambda: take_all(True)] * 2)) == len(events)
    assert InboxEntry.objects.count() == len(events)
