"""Every wait has a deadline and every limit ends where a person sees it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.utils import timezone

from inventory.contracts import InventoryReserved
from outbox.contracts import MessageDeadLettered
from outbox.models import Attempt, Delivery, Message
from sagas.deadlines import sweep_deadlines
from sagas.models import Case, SagaInstance
from tests.factories.plays import Play, run_engine
from tests.messaging import execute, waiting

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["outbox", "sagas"])


def dead_lettered(
    play: Play, wire_type: str, *, kind: str = "command", destination: str = "payments"
) -> MessageDeadLettered:
    """Return the notice of a message of this order whose attempts are spent."""
    message = play.command(wire_type)
    return MessageDeadLettered(
        message_id=message.pk,
        message_type=wire_type,
        message_kind="command" if kind == "command" else "event",
        destination=destination,
        attempts=5,
        error_class="RefundRefused",
        error="refused for good",
        fingerprint="f1",
    )


def open_cases(play: Play) -> list[tuple[str, str, str]]:
    return [(c.step, c.direction, c.error_class) for c in play.cases if c.status == Case.Status.OPEN]


def test_a_step_before_the_pivot_that_is_too_late_turns_the_saga_back() -> None:
    play = Play().begin().reserved().overdue()

    assert sweep_deadlines() == 1

    assert play.status == ("COMPENSATING", "deadline_exceeded")
    assert play.commands[-1] == ("payment.refund", "charge-payment", "compensation")
    assert play.cases == []


def test_a_saga_in_time_is_left_alone_and_a_turned_one_too() -> None:
    in_time = Play().begin()
    turned = Play().begin().reserved().overdue()
    sweep_deadlines()
    before = turned.commands

    assert sweep_deadlines() == 0

    assert (in_time.status, turned.commands) == (("RUNNING", ""), before)


def test_the_next_deadline_is_written_down_with_every_step() -> None:
    play = Play().begin()
    assert timedelta(minutes=9) < _time_left(play) <= timedelta(minutes=10)

    play.reserved()

    assert timedelta(minutes=4) < _time_left(play) <= timedelta(minutes=5)


def test_a_step_from_the_pivot_on_that_is_too_late_asks_a_person() -> None:
    play = Play().begin().reserved().charged().shipped().overdue()

    sweep_deadlines()

    assert play.status == ("SUSPENDED", "")
    [case] = play.cases
    assert open_cases(play) == [("confirm-order", "action", "DeadlinePassed")]
    assert (case.saga_id, case.owner, case.resolution) == (play.saga().pk, "on-call", "")
    assert timedelta(hours=3, minutes=59) < case.due_at - timezone.now() <= timedelta(hours=4)
    assert case.message_id == play.command("order.confirm").pk


def test_a_compensation_that_is_too_late_asks_a_person_about_its_command() -> None:
    play = Play().begin().reserved().overdue()
    sweep_deadlines()
    play.overdue()

    sweep_deadlines()

    assert play.status == ("SUSPENDED", "deadline_exceeded")
    assert open_cases(play) == [("charge-payment", "compensation", "DeadlinePassed")]
    assert play.cases[0].message_id == play.command("payment.refund").pk


def test_a_suspended_saga_is_swept_no_more() -> None:
    play = Play().begin().reserved().charged().shipped().overdue()
    sweep_deadlines()
    play.overdue()

    assert sweep_deadlines() == 0
    assert len(play.cases) == 1


def test_a_stuck_step_that_goes_on_by_itself_closes_its_case() -> None:
    play = Play().begin().reserved().charged().shipped().overdue()
    sweep_deadlines()

    play.confirmed()

    assert play.status == ("COMPLETED", "")
    [case] = play.cases
    assert (case.status, case.resolution) == (Case.Status.CLOSED, "recovered")
    assert case.closed_at is not None


def test_a_stuck_compensation_that_goes_on_by_itself_closes_its_case_and_the_rest_is_undone() -> None:
    play = Play().begin().reserved().overdue()
    sweep_deadlines()
    play.overdue()
    sweep_deadlines()

    play.undone("charge-payment")

    assert play.status == ("COMPENSATING", "deadline_exceeded")
    assert [case.resolution for case in play.cases] == ["recovered"]
    assert play.commands[-1] == ("inventory.release", "reserve-inventory", "compensation")


def test_a_saga_whose_definition_is_gone_holds_up_no_other_deadline() -> None:
    lost, other = Play().begin().reserved().overdue(), Play().begin().reserved().overdue()
    SagaInstance.objects.filter(key=lost.order_id).update(version=99)

    assert sweep_deadlines() == 1

    assert other.status == ("COMPENSATING", "deadline_exceeded")
    assert lost.saga().status == "RUNNING"


def test_a_sweep_takes_a_bounded_number_the_latest_first() -> None:
    plays = [Play().begin().overdue() for _ in range(5)]

    assert [sweep_deadlines(limit=2) for _ in range(4)] == [2, 2, 1, 0]

    assert {play.status for play in plays} == {("COMPENSATING", "deadline_exceeded")}


def test_a_dead_action_turns_the_saga_back_and_is_undone_itself() -> None:
    play = Play().begin().reserved()

    play.hear(dead_lettered(play, "payment.charge"), step="charge-payment")

    assert play.status == ("COMPENSATING", "step_failed")
    assert play.commands[-1] == ("payment.refund", "charge-payment", "compensation")


def test_a_dead_action_is_a_case_beside_the_saga_which_helps_itself() -> None:
    play = Play().begin().reserved()

    for _ in range(2):
        play.hear(dead_lettered(play, "payment.charge"), step="charge-payment")

    [case] = play.cases
    assert (case.saga_id, case.message_id) == (None, play.command("payment.charge").pk)
    assert (case.status, case.destination, case.error) == (Case.Status.OPEN, "payments", "refused for good")


def test_a_dead_compensation_is_a_case_with_its_original_error() -> None:
    play = _refund_is_dead()

    assert play.status == ("SUSPENDED", "deadline_exceeded")
    [case] = play.cases
    assert open_cases(play) == [("charge-payment", "compensation", "RefundRefused")]
    assert (case.error, case.fingerprint, case.attempts) == ("refused for good", "f1", 5)
    assert (case.message_id, case.destination) == (play.command("payment.refund").pk, "payments")


def test_a_dead_compensation_told_of_twice_is_one_case() -> None:
    play = _refund_is_dead()

    play.hear(dead_lettered(play, "payment.refund"), step="charge-payment", direction="compensation")

    assert len(play.cases) == 1


def test_a_dead_event_of_another_consumer_is_a_case_and_the_saga_goes_on() -> None:
    play = Play().begin()
    created = play.command("order.created")
    notice = MessageDeadLettered(
        message_id=created.pk,
        message_type="order.created",
        message_kind="event",
        destination="analytics",
        attempts=3,
        error_class="KeyError",
        error="'x'",
        fingerprint="f2",
    )

    play.hear(notice).hear(notice)

    assert play.status == ("RUNNING", "")
    [case] = play.cases
    assert (case.saga_id, case.message_id, case.destination) == (None, created.pk, "analytics")


def test_an_event_that_the_engine_itself_cannot_hear_is_a_case_too() -> None:
    """It blocks its key at the engine, and so it must not block the notice that tells of it."""
    play = Play().begin()
    unreadable = play.say(InventoryReserved(order_id=play.order_id), step="reserve-inventory")
    with _writable_log():
        execute("UPDATE outbox_message SET payload = '{\"order_id\": 7}' WHERE id = %s", unreadable)
    play.say(InventoryReserved(order_id=play.order_id), step="reserve-inventory")

    run_engine()

    [case] = play.cases
    assert (case.message_id, case.destination, case.error_class) == (unreadable, "sagas", "ValidationError")
    assert play.commands[1:] == []
    [first, *_] = Delivery.objects.filter(destination="sagas").order_by("id")
    assert first.dead_at is not None


def test_the_original_error_stays_visible_whatever_becomes_of_the_case() -> None:
    play = _refund_is_dead()
    refund = play.command("payment.refund")
    Attempt.objects.create(
        message_id=refund.pk,
        ordering_key=play.order_id,
        destination="payments",
        type="payment.refund",
        attempt=5,
        decision="dead",
        error_class="RefundRefused",
        error="refused for good",
        fingerprint="f1",
    )

    play.undone("charge-payment")

    assert [case.resolution for case in play.cases] == ["recovered"]
    assert play.cases[0].error == "refused for good"
    assert Attempt.objects.filter(ordering_key=play.order_id).count() == 1


def test_every_notice_that_nobody_waits_for_is_heard_and_gone() -> None:
    play = Play().begin().reserved().charged().shipped().confirmed()

    play.hear(dead_lettered(play, "payment.charge"), step="charge-payment")

    assert play.status == ("COMPLETED", "")
    assert [(case.saga_id, case.error_class) for case in play.cases] == [(None, "RefundRefused")]
    assert not Delivery.objects.filter(destination="sagas").exists()
    assert Message.objects.filter(id__in=waiting(), type="message.dead_lettered").count() == 0


def _refund_is_dead() -> Play:
    play = Play().begin().reserved().overdue()
    sweep_deadlines()
    return play.hear(dead_lettered(play, "payment.refund"), step="charge-payment", direction="compensation")


def _time_left(play: Play) -> timedelta:
    due_at = play.saga().due_at
    assert due_at is not None
    return due_at - timezone.now()


@contextmanager
def _writable_log() -> Iterator[None]:
    """Switch the guard of the log off, to bring about what a broken publisher would have written."""
    execute("ALTER TABLE outbox_message DISABLE TRIGGER outbox_append_only")
    try:
        yield
    finally:
        execute("ALTER TABLE outbox_message ENABLE ALWAYS TRIGGER outbox_append_only")
