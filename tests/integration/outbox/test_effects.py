"""Handlers that call the outside world: claimed with a lease, called outside any transaction, recorded once."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from uuid_utils.compat import uuid7

from outbox.consumers import Effectful, Outcome, Retry, TransientError, Wait
from outbox.contracts import COMPENSATION, Envelope
from outbox.effects import EffectPump
from outbox.models import BarrierEntry, Delivery, Lane, Message
from outbox.transactions import assert_no_transaction
from tests.messaging import (
    LONG,
    TWICE,
    Act,
    Acted,
    Bank,
    Garbled,
    Noted,
    Undo,
    Wiring,
    dead,
    drain,
    execute,
    handled,
    make_due,
    rest_of,
    say,
    trail,
    waiting,
)

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["outbox"])


def answers_to(message_id: UUID) -> list[str]:
    return list(Message.objects.filter(causation_id=message_id).values_list("type", flat=True))


def claim(pump: EffectPump, wiring_consumer: Any, *, lane: Lane = Lane.EFFECTS) -> int:
    types = [kind.wire_type for kind in wiring_consumer.handlers]
    return pump.claim(consumer=wiring_consumer, lane=lane, types=types, limit=100)


def test_a_call_is_made_recorded_and_answered(wiring: Wiring) -> None:
    bank = Bank()
    wiring.consumer({Act: bank.effectful()})
    [message_id] = say(Act(number=3), saga_id=uuid7(), step="act")

    drain(Lane.EFFECTS)

    assert [e.data.number for e in bank.calls] == [3]
    assert [(e.id, answer) for e, answer in bank.recorded] == [(message_id, "yes")]
    assert waiting() == []
    assert answers_to(message_id) == ["test.acted"]
    assert BarrierEntry.objects.get().settled


def test_what_is_claimed_bears_a_lease_a_token_and_a_counted_attempt(wiring: Wiring) -> None:
    bank = Bank()
    consumer = wiring.consumer({Act: bank.effectful()})
    [message_id] = say(Act(), saga_id=uuid7(), step="act")
    pump = EffectPump()

    claim(pump, consumer)

    delivery = Delivery.objects.get()
    assert delivery.token is not None
    assert delivery.attempts == 1
    assert timedelta(seconds=6) < rest_of(message_id) <= timedelta(seconds=8)
    assert not BarrierEntry.objects.get().settled
    pump.close()
    assert waiting() == []


def test_no_transaction_is_open_during_a_call_and_one_is_during_the_record(wiring: Wiring) -> None:
    was_open: list[bool] = []

    def call(_: Envelope[Any]) -> str:
        assert_no_transaction()
        return "yes"

    def note(*_: Any) -> None:
        was_open.append(transaction.get_connection().in_atomic_block)

    bank = Bank(call)
    bank.outcome = note
    wiring.consumer({Act: bank.effectful()})
    [message_id] = say(Act())

    drain(Lane.EFFECTS)

    assert was_open == [True]
    assert trail(message_id) == []
    assert waiting() == []


def test_a_call_may_read_the_database_and_leaves_no_connection_behind(wiring: Wiring) -> None:
    bank = Bank(lambda envelope: Message.objects.get(id=envelope.id).type)
    wiring.consumer({Act: bank.effectful()})
    say(*(Act(number=number) for number in range(20)))

    drain(Lane.EFFECTS)

    assert [answer for _, answer in bank.recorded] == ["test.act"] * 20
    [(open_ones,)] = execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND state = 'idle in transaction'"
    )
    assert open_ones == 0


@pytest.mark.parametrize("outcome", [Retry("later"), Wait(LONG, "later")])
def test_a_record_may_ask_for_another_call(wiring: Wiring, outcome: Outcome) -> None:
    bank = Bank()
    bank.outcome = lambda *_: outcome if len(bank.calls) == 1 else Acted()
    wiring.consumer({Act: bank.effectful()})
    [message_id] = say(Act(), saga_id=uuid7(), step="act")

    drain(Lane.EFFECTS)
    assert waiting() == [message_id]
    assert Delivery.objects.get().attempts == (1 if isinstance(outcome, Retry) else 0)
    assert not BarrierEntry.objects.get().settled
    make_due()
    drain(Lane.EFFECTS)

    assert len(bank.calls) == 2
    assert answers_to(message_id) == ["test.acted"]


def test_an_unreadable_message_is_dead_and_its_neighbours_are_called(wiring: Wiring) -> None:
    bank = Bank()
    consumer = wiring.consumer({Noted: bank.effectful()})
    ids = say(Noted(number=1), Garbled(), Noted(number=2))
    execute("UPDATE outbox_delivery SET lane = 'effects'")
    pump = EffectPump()

    claim(pump, consumer)
    pump.close()

    assert sorted(e.data.number for e in bank.calls) == [1, 2]
    assert waiting() == dead() == [ids[1]]
    assert trail(ids[1]) == [(1, "dead", "ValidationError")]


def test_an_event_is_called_for_once_however_often_it_is_delivered(wiring: Wiring) -> None:
    bank = Bank()
    wiring.consumer({Noted: bank.effectful()})
    [message_id] = say(Noted())

    drain(Lane.EFFECTS)
    _deliver_again(message_id)
    drain(Lane.EFFECTS)

    assert len(bank.calls) == 1
    assert waiting() == []
    assert handled() == {message_id}


def test_an_outside_world_that_takes_many_is_asked_together(wiring: Wiring) -> None:
    asked: list[list[int]] = []

    def call_together(envelopes: Sequence[Envelope[Any]]) -> list[object]:
        asked.append([e.data.number for e in envelopes])
        return [TransientError("not this one") if e.data.number == 3 else "yes" for e in envelopes]

    bank = Bank()
    handler = Effectful(call_together=call_together, together=4, record=bank.record, policy=TWICE)
    consumer = wiring.consumer({Noted: handler})
    ids = say(*(Noted(number=number) for number in range(10)))
    pump = EffectPump()

    claim(pump, consumer)
    pump.close()

    assert sorted(asked) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert sorted(e.data.number for e, _ in bank.recorded) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert waiting() == [ids[3]]
    assert trail(ids[3]) == [(1, "retry", "TransientError")]


@pytest.mark.parametrize("answers", [[], ["yes"] * 3])
def test_too_few_or_too_many_answers_are_a_bug(wiring: Wiring, answers: list[str]) -> None:
    bank = Bank()
    wiring.consumer({Noted: Effectful(call_together=lambda _: answers, record=bank.record, policy=TWICE)})
    ids = say(Noted(number=1), Noted(number=2))

    for _ in range(3):
        drain(Lane.EFFECTS)
        make_due()

    assert bank.recorded == []
    for message_id in ids:
        assert trail(message_id) == [(1, "retry", "HandlerBroke"), (2, "dead", "HandlerBroke")]


def test_an_action_whose_compensation_waits_is_withdrawn_and_never_called(wiring: Wiring) -> None:
    bank = Bank()
    wiring.consumer({Act: bank.effectful(), Undo: bank.effectful()})
    order_id, saga_id = uuid7(), uuid7()
    [action] = say(Act(number=1), key=order_id, saga_id=saga_id, step="act")
    [compensation] = say(Undo(number=2), key=order_id, saga_id=saga_id, step="act", direction=COMPENSATION)

    drain()

    assert [e.data.number for e in bank.calls] == [2]
    assert waiting() == []
    assert trail(action) == [(1, "withdrawn", "Withdrawn")]
    assert answers_to(action) == []
    assert answers_to(compensation) == ["test.undone"]


def test_an_action_of_another_order_is_not_withdrawn(wiring: Wiring) -> None:
    bank = Bank()
    wiring.consumer({Act: bank.effectful(), Undo: bank.effectful()})
    say(Act(number=1), key=uuid7(), saga_id=uuid7(), step="act")
    say(Undo(number=2), key=uuid7(), saga_id=uuid7(), step="act", direction=COMPENSATION)

    drain()

    assert sorted(e.data.number for e in bank.calls) == [1, 2]


def _deliver_again(message_id: object) -> None:
    execute(
        "INSERT INTO outbox_delivery (message_id, message_time, destination, lane, kind, type, ordering_key)"
        " SELECT id, time, 'tester', 'effects', kind, type, ordering_key FROM outbox_message WHERE id = %s",
        message_id,
    )
