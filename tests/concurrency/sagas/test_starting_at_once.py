"""Many relays hear of one order at the same moment: one saga begins, and one at a time holds the order."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
from django.db import transaction

from inventory.contracts import InventoryReserved
from orders.contracts import OrderCancelRequested
from outbox.consumers import Outcome, Wait
from outbox.contracts import Envelope, Message
from outbox.models import Message as Logged
from sagas.deadlines import sweep_deadlines
from sagas.handlers import handle
from sagas.models import SagaInstance
from tests.factories.envelopes import envelope
from tests.factories.plays import Play
from tests.threads import side_by_side

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["outbox", "sagas"])

RELAYS = 20


def hear(batch: Sequence[Envelope[Any]]) -> Sequence[Outcome]:
    with transaction.atomic():
        return handle(batch)


def about(play: Play, event: Message, **fields: Any) -> Envelope[Any]:
    return envelope(event, subject=play.order_id, **fields)


def test_twenty_relays_begin_one_saga() -> None:
    play = Play()

    outcomes = side_by_side([lambda: hear([about(play, play.created())])] * RELAYS)

    assert outcomes == [[None]] * RELAYS
    assert SagaInstance.objects.filter(key=play.order_id).count() == 1
    assert [command for command, *_ in play.commands] == ["inventory.reserve"]


def test_batches_of_the_same_orders_in_another_order_do_not_deadlock() -> None:
    plays = [Play() for _ in range(30)]

    def begin(backwards: bool) -> int:
        batch = [about(play, play.created()) for play in (plays[::-1] if backwards else plays)]
        return len(hear(batch))

    side_by_side([lambda: begin(False), lambda: begin(True)] * 3)

    assert SagaInstance.objects.count() == len(plays)
    assert [len(play.commands) for play in plays] == [1] * len(plays)


def test_two_sagas_of_one_order_at_once_hold_it_one_at_a_time() -> None:
    for _ in range(10):
        play = Play()
        start: list[Message] = [play.created(), play.return_requested()]

        outcomes = side_by_side([partial(hear, [about(play, event)]) for event in start])

        assert [type(outcome) for [outcome] in outcomes if outcome is not None] == [Wait]
        assert SagaInstance.objects.filter(key=play.order_id, status="RUNNING").count() == 1


def test_the_same_answer_heard_by_many_counts_once() -> None:
    play = Play().begin()
    answer = InventoryReserved(order_id=play.order_id)
    saga_id = play.saga().pk

    side_by_side([lambda: hear([about(play, answer, saga_id=saga_id, step="reserve-inventory")])] * RELAYS)

    assert [command for command, *_ in play.commands] == ["inventory.reserve", "payment.charge"]


def test_an_answer_a_cancel_and_a_missed_deadline_at_once_end_in_one_way() -> None:
    """Whatever comes first, the others meet what it has left: one direction, each command once."""
    for _ in range(5):
        play = Play().begin().overdue()
        saga_id = play.saga().pk
        reserved = about(play, InventoryReserved(order_id=play.order_id), saga_id=saga_id, step="reserve-inventory")
        cancel = about(play, OrderCancelRequested(order_id=play.order_id, reason="cancelled_by_customer"))

        works: list[Callable[[], object]] = [partial(hear, [reserved]), partial(hear, [cancel]), sweep_deadlines]
        side_by_side(works)

        status, reason = play.status
        assert status == "COMPENSATING"
        assert reason in {"cancelled_by_customer", "deadline_exceeded"}
        said = [(command, step) for command, step, _ in play.commands]
        assert len(said) == len(set(said))


def test_sweeps_side_by_side_turn_each_saga_once() -> None:
    plays = [Play().begin().overdue() for _ in range(20)]

    swept = side_by_side([sweep_deadlines] * 4)

    assert sum(swept) >= len(plays)
    assert [len(play.commands) for play in plays] == [2] * len(plays)
    assert Logged.objects.filter(type="inventory.release", ordering_key__in=[p.order_id for p in plays]).count() == 20
