"""What a person does with dead letters and history, and what stays as it was."""

from uuid import UUID

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from uuid_utils.compat import uuid7

from outbox import redrive as redriving
from outbox.models import Attempt, Delivery, Lane
from outbox.redrive import ReplayRefused, discard, redrive, replay
from outbox.transactions import OutsideTransaction
from tests.messaging import (
    Act,
    Acted,
    Bank,
    Clerk,
    Noted,
    Wiring,
    dead,
    drain,
    execute,
    handled,
    make_due,
    say,
    trail,
    waiting,
)

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["outbox"])


@pytest.fixture
def clerk(wiring: Wiring) -> Clerk:
    """A clerk who cannot do anything for now."""
    clerk = Clerk(lambda _: 1 / 0)  # type: ignore[arg-type, return-value]
    wiring.consumer({Noted: clerk.joined()})
    return clerk


def kill(*numbers: int, key: UUID | None = None) -> list[UUID]:
    """Publish, and try until it is dead."""
    ids = say(*(Noted(number=number) for number in numbers), key=key)
    for _ in range(3):
        drain()
        make_due()
    return ids


def test_a_redrive_gives_fresh_attempts_and_keeps_what_went_wrong(clerk: Clerk) -> None:
    [message_id] = kill(1)
    before = trail(message_id)
    assert before == [(1, "retry", "ZeroDivisionError"), (2, "dead", "ZeroDivisionError")]
    mark = Attempt.objects.filter(message_id=message_id).last()
    assert mark is not None
    assert (mark.error, len(mark.fingerprint), mark.destination) == ("division by zero", 12, "tester")

    with transaction.atomic():
        assert redrive(message_ids=[message_id]) == {message_id}
    delivery = Delivery.objects.get()
    assert (delivery.attempts, delivery.dead_at, delivery.token) == (0, None, None)
    clerk.answer = lambda _: None
    drain()

    assert waiting() == []
    assert handled() == {message_id}
    assert trail(message_id) == before


def test_a_redriven_message_that_fails_again_dies_again_with_its_own_trail(clerk: Clerk) -> None:
    [message_id] = kill(1)
    with transaction.atomic():
        redrive(message_ids=[message_id])

    for _ in range(3):
        drain()
        make_due()

    assert dead() == [message_id]
    assert [row[:2] for row in trail(message_id)] == [(1, "retry"), (2, "dead"), (1, "retry"), (2, "dead")]


def test_a_redrive_twice_or_of_what_is_gone_changes_nothing(clerk: Clerk) -> None:
    [message_id] = kill(1)
    with transaction.atomic():
        redrive(message_ids=[message_id])
    Delivery.objects.update(attempts=1)

    with transaction.atomic():
        assert redrive(message_ids=[message_id, uuid7()]) == {message_id}

    assert Delivery.objects.get().attempts == 1


def test_a_redrive_frees_the_key_behind_it_in_order(clerk: Clerk) -> None:
    key = uuid7()
    ids = kill(1, 2, 3, key=key)
    assert dead() == ids[:1]
    clerk.answer = lambda _: None
    clerk.batches.clear()

    with transaction.atomic():
        redrive(message_ids=ids[:1])
    drain()

    assert clerk.numbers == [1, 2, 3]


def test_discarding_a_dead_event_frees_its_key_and_keeps_log_and_trail(clerk: Clerk) -> None:
    ids = kill(1, 2, key=uuid7())
    clerk.answer = lambda _: None
    clerk.batches.clear()

    with transaction.atomic():
        assert discard(message_ids=ids[:1]) == 1
    drain()

    assert clerk.numbers == [2]
    assert waiting() == []
    assert len(trail(ids[0])) == 2


def test_only_dead_deliveries_are_discarded(clerk: Clerk) -> None:
    ids = say(Noted())

    with transaction.atomic():
        assert discard(message_ids=ids) == 0

    assert waiting() == ids


def test_redrive_and_discard_need_a_transaction(clerk: Clerk) -> None:
    with pytest.raises(OutsideTransaction):
        redrive(message_ids=[uuid7()])
    with pytest.raises(OutsideTransaction):
        discard(message_ids=[uuid7()])


def test_a_redrive_or_discard_for_one_consumer_leaves_the_other_ones_dead(wiring: Wiring) -> None:
    """Each dead delivery has a case of its own; an action on one case must not touch the others."""
    for name in ("one", "two"):
        wiring.consumer({Noted: Clerk(lambda _: 1 / 0).joined()}, name=name)  # type: ignore[arg-type, return-value]
    [message_id] = kill(1)
    assert dead() == [message_id] * 2

    with transaction.atomic():
        redrive(message_ids=[message_id], destination="one")
    assert _dead_at() == ["two"]
    with transaction.atomic():
        assert discard(message_ids=[message_id], destination="one") == 0
        assert discard(message_ids=[message_id], destination="two") == 1
    assert _dead_at() == []


def test_a_replay_brings_a_new_consumer_up_to_date_in_order(wiring: Wiring) -> None:
    wiring.consumer({Noted: Clerk().joined()}, name="old")
    key = uuid7()
    ids = say(*(Noted(number=number) for number in range(30)), key=key)
    drain()
    newcomer = Clerk()
    wiring.consumer({Noted: newcomer.joined()}, name="new")

    assert replay(consumer="new", ordering_key=key) == 30
    drain()

    assert newcomer.numbers == list(range(30))
    assert handled("new") == set(ids)


def test_a_replay_lets_only_the_missing_ones_through(wiring: Wiring, clerk: Clerk) -> None:
    clerk.answer = lambda _: None
    key = uuid7()
    ids = say(*(Noted(number=number) for number in range(10)), key=key)
    drain()
    clerk.batches.clear()
    execute("DELETE FROM outbox_inbox WHERE message_id = ANY(%s)", [ids[3], ids[7]])

    assert replay(consumer="tester", ordering_key=key) == 10
    drain()

    assert clerk.numbers == [3, 7]
    assert waiting() == []


def test_a_replay_to_an_effectful_consumer_calls_only_for_the_missing_ones(wiring: Wiring) -> None:
    bank = Bank()
    wiring.consumer({Noted: bank.effectful()})
    key = uuid7()
    ids = say(*(Noted(number=number) for number in range(5)), key=key)
    drain()
    bank.calls.clear()
    execute("DELETE FROM outbox_inbox WHERE message_id = %s", ids[2])

    replay(consumer="tester", ordering_key=key)
    assert set(Delivery.objects.values_list("lane", flat=True)) == {Lane.EFFECTS}
    drain()

    assert [envelope.id for envelope in bank.calls] == [ids[2]]


def test_commands_are_never_replayed(wiring: Wiring) -> None:
    clerk = Clerk(lambda _: Acted())
    wiring.consumer({Act: clerk.joined(), Noted: clerk.joined()})
    key = uuid7()
    say(Act(number=1), key=key, saga_id=uuid7(), step="act")
    say(Act(number=2), Noted(number=3), key=key)
    drain()
    execute("DELETE FROM outbox_inbox")
    execute("DELETE FROM outbox_barrier")
    clerk.batches.clear()

    assert replay(consumer="tester", ordering_key=key) == 1
    drain()

    assert clerk.numbers == [3]


def test_what_still_waits_is_not_added_a_second_time(clerk: Clerk) -> None:
    key = uuid7()
    say(Noted(), Noted(), key=key)

    assert replay(consumer="tester", ordering_key=key) == 0
    assert len(waiting()) == 2


def test_a_replay_takes_time_as_its_bound_too(clerk: Clerk) -> None:
    clerk.answer = lambda _: None
    say(Noted(number=1))
    drain()
    since = timezone.now()
    ids = say(Noted(number=2), Noted(number=3))
    drain()
    execute("DELETE FROM outbox_inbox")
    clerk.batches.clear()

    assert replay(consumer="tester", since=since) == 2
    assert waiting() == ids
    drain()

    assert clerk.numbers == [2, 3]


def test_a_long_history_is_replayed_in_bounded_transactions(clerk: Clerk, monkeypatch: pytest.MonkeyPatch) -> None:
    clerk.answer = lambda _: None
    key = uuid7()
    ids = say(*(Noted(number=number) for number in range(25)), key=key)
    drain()
    monkeypatch.setattr(redriving, "REPLAY_BATCH", 10)

    with CaptureQueriesContext(connection) as queries:
        assert replay(consumer="tester", ordering_key=key) == 25

    assert sum("INSERT INTO outbox_delivery" in query["sql"] for query in queries) == 4
    assert waiting() == ids


@pytest.mark.parametrize(
    ("bounds", "why"),
    [
        ({"consumer": "nobody", "ordering_key": uuid7()}, "no consumer is named 'nobody'"),
        ({"consumer": "tester"}, "not neither"),
        ({"consumer": "tester", "ordering_key": uuid7(), "since": timezone.now()}, "not both"),
    ],
)
def test_a_replay_without_a_consumer_or_with_another_number_of_bounds_than_one_is_refused(
    clerk: Clerk, bounds: dict[str, object], why: str
) -> None:
    with pytest.raises(ReplayRefused, match=why):
        replay(**bounds)  # type: ignore[arg-type]


def _dead_at() -> list[str]:
    rows = Delivery.objects.filter(dead_at__isnull=False).order_by("destination")
    return list(rows.values_list("destination", flat=True))
