"""What a relay takes: no more than the limit, never what another one holds, each key in its order."""

import pytest
from django.db import transaction
from uuid_utils.compat import uuid7

from outbox.claims import claim_again, claim_joined, claim_leased
from outbox.consumers import Consumer
from outbox.joined import deliver
from outbox.models import Delivery, Lane
from outbox.selectors import blocked_keys
from tests.messaging import (
    TWICE,
    Act,
    Bank,
    Clerk,
    Garbled,
    Noted,
    Wiring,
    dead,
    drain,
    execute,
    make_due,
    rest_of,
    say,
    trail,
    waiting,
)

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["outbox"])


@pytest.fixture
def consumer(wiring: Wiring) -> Consumer:
    return wiring.consumer({Noted: Clerk().joined(), Act: Bank().effectful()})


def claim(consumer: Consumer, limit: int) -> list[int]:
    with transaction.atomic():
        claimed = claim_joined(consumer=consumer, lane=Lane.RELAY, types=["test.noted"], limit=limit, using="default")
    return [one.known.data.number for one in claimed]


def lease(consumer: Consumer, limit: int) -> list[int]:
    with transaction.atomic():
        claimed = claim_leased(consumer=consumer, lane=Lane.EFFECTS, types=["test.act"], limit=limit, using="default")
    return [one.known.data.number for one in claimed]


@pytest.mark.parametrize("limit", [1, 7, 100])
def test_a_claim_takes_at_most_its_limit(consumer: Consumer, limit: int) -> None:
    say(*(Noted() for _ in range(40)), *(Act() for _ in range(40)))

    assert len(claim(consumer, limit)) == min(limit, 40)
    assert len(lease(consumer, limit)) == min(limit, 40)


def test_a_claim_keeps_to_its_limit_under_any_plan(consumer: Consumer) -> None:
    say(*(Act() for _ in range(40)))

    with transaction.atomic():
        execute("SET LOCAL enable_hashjoin = off")
        execute("SET LOCAL enable_mergejoin = off")
        execute("SET LOCAL enable_indexscan = off")
        assert len(lease(consumer, 3)) == 3

    assert Delivery.objects.filter(token__isnull=False).count() == 3


def test_only_what_is_due_in_this_lane_for_this_consumer_is_claimed(wiring: Wiring, consumer: Consumer) -> None:
    wiring.consumer({Noted: Clerk().joined()}, name="another")
    [_, late] = say(Noted(number=1), Noted(number=2))
    Delivery.objects.filter(message_id=late).update(available_at="2999-01-01T00:00Z")

    assert claim(consumer, 10) == [1]


def test_a_leased_row_is_out_of_reach_until_its_lease_is_over(consumer: Consumer) -> None:
    say(Act(number=1), Act(number=2))

    assert lease(consumer, 10) == [1, 2]
    assert lease(consumer, 10) == []
    make_due()
    assert lease(consumer, 10) == [1, 2]

    assert set(Delivery.objects.values_list("attempts", flat=True)) == {2}


def test_a_retried_row_is_out_of_reach_again_once_it_is_claimed(consumer: Consumer) -> None:
    [message_id] = say(Act(number=1))
    for _ in range(3):
        assert lease(consumer, 10) == [1]
        assert lease(consumer, 10) == []
        make_due()
    execute("UPDATE outbox_delivery SET token = NULL, error_class = 'TransientError', error = 'as after a retry'")

    assert lease(consumer, 10) == [1]
    assert lease(consumer, 10) == []
    assert Delivery.objects.get(message_id=message_id).attempts == 4


def test_the_messages_of_one_key_come_one_at_a_time_and_in_order(wiring: Wiring) -> None:
    clerk = Clerk()
    consumer = wiring.consumer({Noted: clerk.joined()})
    say(*(Noted(number=number) for number in range(5)), key=uuid7())
    say(*(Noted(number=10 + number) for number in range(5)), key=uuid7())

    claimed = [deliver(consumer=consumer, lane=Lane.RELAY, types=["test.noted"], limit=100) for _ in range(6)]

    assert claimed == [2, 2, 2, 2, 2, 0]
    assert [[e.data.number for e in batch] for batch in clerk.batches] == [[n, 10 + n] for n in range(5)]


def test_a_key_is_in_order_for_each_consumer_alone(wiring: Wiring) -> None:
    broken, fine = Clerk(lambda _: 1 / 0), Clerk()  # type: ignore[arg-type, return-value]
    wiring.consumer({Noted: broken.joined()}, name="broken")
    wiring.consumer({Noted: fine.joined()}, name="fine")
    say(*(Noted(number=number) for number in range(3)), key=uuid7())

    drain()

    assert fine.numbers == [0, 1, 2]
    assert set(broken.numbers) == {0}


def test_a_resting_head_blocks_its_key_and_no_other_and_is_counted(wiring: Wiring) -> None:
    clerk = Clerk()
    wiring.consumer({Noted: clerk.joined()})
    stuck, free = uuid7(), uuid7()
    [head, *_] = say(*(Noted(number=number) for number in range(3)), key=stuck)
    say(*(Noted(number=10 + number) for number in range(3)), key=free)
    Delivery.objects.filter(message_id=head).update(available_at="2999-01-01T00:00Z")

    drain()

    assert clerk.numbers == [10, 11, 12]
    assert blocked_keys() == 1
    make_due()
    drain()
    assert clerk.numbers == [10, 11, 12, 0, 1, 2]
    assert blocked_keys() == 0


def test_a_leased_head_blocks_its_key_too(consumer: Consumer) -> None:
    say(*(Act(number=number) for number in range(3)), key=uuid7())

    assert lease(consumer, 10) == [0]
    assert lease(consumer, 10) == []


def test_a_dead_event_blocks_its_key_and_no_other(wiring: Wiring) -> None:
    clerk = Clerk()
    wiring.consumer({Noted: clerk.joined()})
    [head, *rest] = say(Garbled(), Noted(number=1), key=uuid7())
    say(Noted(number=2))

    drain()

    assert clerk.numbers == [2]
    assert waiting() == [head, *rest]
    assert dead() == [head]
    assert blocked_keys() == 1


def test_a_dead_command_does_not_block_its_key(wiring: Wiring) -> None:
    def refuse_first(number: int) -> None:
        assert number != 0

    clerk = Clerk(lambda envelope: refuse_first(envelope.data.number))
    wiring.consumer({Act: clerk.joined()})
    key = uuid7()
    [head, *_] = say(*(Act(number=number) for number in range(3)), key=key)

    for _ in range(TWICE.bug_attempts):
        drain()
        make_due()

    assert dead() == [head]
    assert trail(head) == [(1, "retry", "AssertionError"), (2, "dead", "AssertionError")]
    drain()
    assert clerk.numbers[-2:] == [1, 2]
    assert waiting() == [head]
    assert blocked_keys() == 0


def test_a_claim_of_chosen_rows_keeps_the_order_too(consumer: Consumer) -> None:
    say(*(Noted(number=number) for number in range(3)), key=uuid7())
    ids = list(Delivery.objects.order_by("id").values_list("id", flat=True))

    with transaction.atomic():
        claimed = claim_again(delivery_ids=ids, using="default")

    assert [one.known.data.number for one in claimed] == [0]


def test_due_times_are_told_by_the_clock_of_the_database(wiring: Wiring, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker five minutes ahead or behind does not shift what is due."""
    bank = Bank(lambda _: 1 / 0)
    wiring.consumer({Act: bank.effectful()})
    monkeypatch.setattr("time.time", lambda: 0.0)
    [message_id] = say(Act())

    drain(Lane.EFFECTS)

    assert len(bank.calls) == 1
    assert rest_of(message_id).total_seconds() <= 3600
