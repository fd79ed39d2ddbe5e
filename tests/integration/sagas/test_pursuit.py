"""What has come of what people did: read off the rows, so that it cannot be better than what is so."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from orders.contracts import OrderCancelled
from outbox.contracts import COMPENSATION, MessageDeadLettered
from outbox.models import Delivery, InboxEntry, Message
from sagas import pursuit, redelivery, services
from sagas.deadlines import sweep_deadlines
from sagas.models import Approval, Case, OperatorAction
from sagas.pursuit import Outcome, outcome_of
from shipping.contracts import ShipmentFailed
from tests.factories.cases import kill, refused_event
from tests.factories.people import approved_by, colleague
from tests.factories.plays import Play

pytestmark = pytest.mark.django_db(transaction=True)

WHY: dict[str, Any] = {"operator": "grace", "reason": "the customer called"}
BY_HAND = {**WHY, "reference": "BANK-7"}


@pytest.fixture
def stuck() -> Play:
    """An order whose refund is dead, and waits for a person."""
    play = Play().begin().reserved().charged()
    play.hear(ShipmentFailed(order_id=play.order_id, reason="shipping_refused"), step="create-shipment")
    die_again(play)
    assert play.status == ("SUSPENDED", "shipping_refused")
    return play


def die_again(play: Play, error: str = "refused for good") -> None:
    """Let the attempts of the refund be spent."""
    refund = play.command("payment.refund")
    kill(refund, "payments")
    notice = MessageDeadLettered(
        message_id=refund.pk,
        message_type=refund.type,
        message_kind="command",
        destination="payments",
        attempts=5,
        error_class="RefundRefused",
        error=error,
        fingerprint="f1",
    )
    play.hear(notice, step="charge-payment", direction=COMPENSATION)


def end(play: Play) -> datetime:
    """Let all that is left be undone; return when the saga ended."""
    play.undone("charge-payment")
    play.undone("reserve-inventory")
    cancelled = play.command("order.cancel")
    play.hear(_cancelled(play), step=cancelled.headers["step"])
    ended_at = play.saga().ended_at
    assert ended_at is not None
    return ended_at


def _cancelled(play: Play) -> OrderCancelled:
    return OrderCancelled(order_id=play.order_id, customer_id=7)


def actions(play: Play) -> list[OperatorAction]:
    return list(OperatorAction.objects.filter(key=play.order_id).order_by("id"))


def statuses(play: Play) -> list[tuple[str, str]]:
    done = actions(play)
    outcomes = outcome_of(done)
    return [(action.action, outcomes[action.pk].status) for action in done]


def only(play: Play) -> Outcome:
    [action] = actions(play)
    return outcome_of([action])[action.pk]


def test_a_retry_is_requested_until_its_step_is_done(stuck: Play) -> None:
    services.retry(saga_id=stuck.saga().pk, **WHY)
    [action] = actions(stuck)
    assert only(stuck) == Outcome("requested", action.at)

    stuck.undone("charge-payment")

    ended_at = datetime.fromisoformat(stuck.saga().steps["charge-payment"]["ended_at"])
    assert only(stuck) == Outcome("done", ended_at)


def test_a_retry_that_ends_in_another_case_has_failed_again_with_its_error(stuck: Play) -> None:
    services.retry(saga_id=stuck.saga().pk, **WHY)

    die_again(stuck, "the bank refuses still")

    newer = stuck.cases[-1]
    assert only(stuck) == Outcome("failed again", newer.opened_at, "the bank refuses still", newer.pk)


def test_what_has_failed_again_stays_failed_though_a_later_retry_succeeds(stuck: Play) -> None:
    services.retry(saga_id=stuck.saga().pk, **WHY)
    die_again(stuck)
    services.retry(saga_id=stuck.saga().pk, **WHY)

    stuck.undone("charge-payment")

    assert statuses(stuck) == [("retry", "failed again"), ("retry", "done")]


def test_a_late_answer_makes_a_retry_done_though_a_case_was_opened_meanwhile(stuck: Play) -> None:
    services.retry(saga_id=stuck.saga().pk, **WHY)
    stuck.overdue()
    sweep_deadlines()
    assert statuses(stuck) == [("retry", "failed again")]

    stuck.undone("charge-payment")

    assert stuck.cases[-1].resolution == Case.Resolution.RECOVERED
    assert statuses(stuck) == [("retry", "done")]


@pytest.mark.parametrize("action", ["skip", "resolve"])
def test_going_on_without_a_step_is_done_when_the_saga_has_ended(stuck: Play, action: str) -> None:
    getattr(services, action)(saga_id=stuck.saga().pk, **(BY_HAND if action == "resolve" else WHY))
    assert only(stuck).status == "requested"

    stuck.undone("reserve-inventory")
    stuck.hear(_cancelled(stuck), step="close")

    assert only(stuck) == Outcome("done", stuck.saga().ended_at)


def test_a_compensation_that_gets_stuck_has_failed_and_is_done_once_it_went_on() -> None:
    play = Play().begin().reserved().charged()
    services.compensate(saga_id=play.saga().pk, **WHY)
    play.undone("create-shipment")
    assert statuses(play) == [("compensate", "requested")]

    die_again(play)
    assert only(play).status == "failed again"

    services.retry(saga_id=play.saga().pk, **WHY)
    end(play)
    assert statuses(play) == [("compensate", "done"), ("retry", "done")]


def test_what_an_abandon_overtook_never_happened(stuck: Play) -> None:
    services.retry(saga_id=stuck.saga().pk, **WHY)
    services.abandon(saga_id=stuck.saga().pk, **WHY)
    approved_by("ada")

    outcomes = dict(statuses(stuck))

    assert outcomes == {"retry": "overtaken", "request abandon": "done", "abandon": "done", "approve abandon": "done"}


def test_a_request_waits_for_the_second_person(stuck: Play) -> None:
    services.abandon(saga_id=stuck.saga().pk, **WHY)

    assert only(stuck) == Outcome("awaits approval", Approval.objects.get().requested_at)


def test_a_declined_request_is_refused_by_whom(stuck: Play) -> None:
    services.abandon(saga_id=stuck.saga().pk, **WHY)
    colleague("ada")
    approval = Approval.objects.get()

    services.decline(approval_id=approval.pk, operator="ada")

    approval.refresh_from_db()
    first = actions(stuck)[0]
    assert outcome_of([first])[first.pk] == Outcome("refused", approval.decided_at, "declined by ada")


def test_a_request_that_nobody_approved_in_time_is_refused(stuck: Play) -> None:
    services.abandon(saga_id=stuck.saga().pk, **WHY)
    Approval.objects.update(expires_at=F("requested_at") - timedelta(seconds=1))

    assert str(only(stuck)) == "refused: nobody approved it in time"


def test_a_message_sent_again_is_requested_then_done_when_its_consumer_has_handled_it() -> None:
    case = refused_event()
    assert case.message_id is not None
    services.close_message_case(case_id=case.pk, action="retry", **WHY)
    action = OperatorAction.objects.get()
    assert outcome_of([action])[action.pk] == Outcome("requested", action.at)

    Delivery.objects.filter(destination="notifications").delete()
    entry = InboxEntry.objects.create(consumer="notifications", message_id=case.message_id)

    entry.refresh_from_db()
    assert outcome_of([action])[action.pk] == Outcome("done", entry.at)


def test_a_message_that_dies_again_has_failed_again_even_before_its_case_is_there() -> None:
    case = refused_event()
    assert case.message_id is not None
    services.close_message_case(case_id=case.pk, action="retry", **WHY)
    kill(Message.objects.get(pk=case.message_id), "notifications")

    action = OperatorAction.objects.get()
    outcome = outcome_of([action])[action.pk]

    assert (outcome.status, outcome.error) == ("failed again", "RefundRefused: refused for good")


def test_a_redelivery_is_followed_to_its_consumer() -> None:
    play = Play().begin()
    created = Message.objects.get(ordering_key=play.order_id, type="order.created")
    Delivery.objects.filter(message_id=created.pk).delete()
    redelivery.redeliver(message_id=created.pk, destination="analytics", **WHY)
    assert statuses(play) == [("redeliver", "requested")]

    Delivery.objects.filter(message_id=created.pk).delete()
    InboxEntry.objects.create(consumer="analytics", message_id=created.pk)
    redelivery.redeliver(message_id=created.pk, destination="analytics", **WHY)

    assert [action.result for action in actions(play)] == ["requested", "handled already"]
    assert statuses(play) == [("redeliver", "done"), ("redeliver", "done")]


def test_many_actions_cost_as_many_statements_as_few(stuck: Play) -> None:
    others = [Play().begin().reserved() for _ in range(3)]
    services.retry(saga_id=stuck.saga().pk, **WHY)
    with CaptureQueriesContext(connection) as of_one:
        outcome_of(list(OperatorAction.objects.all()))
    for play in others:
        services.compensate(saga_id=play.saga().pk, **WHY)

    with CaptureQueriesContext(connection) as of_many:
        outcomes = outcome_of(list(OperatorAction.objects.all()))

    assert len(outcomes) == 4
    assert len(of_many) == len(of_one)
    assert {outcome.status for outcome in outcomes.values()} == {pursuit.REQUESTED}
