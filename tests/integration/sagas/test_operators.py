"""What operators do to sagas: one of them wins, nobody acts on what has changed, and each word is written down."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.db import IntegrityError, transaction
from prometheus_client import REGISTRY

from outbox.contracts import COMPENSATION, MessageDeadLettered
from outbox.models import Delivery, Message
from payments.contracts import PaymentRefunded
from sagas import services
from sagas.deadlines import sweep_deadlines
from sagas.engine import Refused
from sagas.models import Case, OperatorAction
from sagas.wanted import ReasonMissing, StaleView
from shipping.contracts import ShipmentFailed
from tests.factories.cases import kill
from tests.factories.people import approved_by
from tests.factories.plays import Play, run_engine
from tests.messaging import execute
from tests.threads import side_by_side

pytestmark = pytest.mark.django_db(transaction=True)

WHY: dict[str, Any] = {"operator": "grace", "reason": "the customer called"}
BY_HAND = {**WHY, "reference": "BANK-7"}


def notice(message: Message, destination: str) -> MessageDeadLettered:
    return MessageDeadLettered(
        message_id=message.pk,
        message_type=message.type,
        message_kind="command" if message.kind == "command" else "event",
        destination=destination,
        attempts=5,
        error_class="RefundRefused",
        error="refused for good",
        fingerprint="f1",
    )


@pytest.fixture
def stuck() -> Play:
    """An order whose refund is dead: turned back since the carrier refused it, and waiting for a person."""
    play = Play().begin().reserved().charged()
    play.hear(ShipmentFailed(order_id=play.order_id, reason="shipping_refused"), step="create-shipment")
    refund = play.command("payment.refund")
    kill(refund, "payments")
    play.hear(notice(refund, "payments"), step="charge-payment", direction=COMPENSATION)
    assert play.status == ("SUSPENDED", "shipping_refused")
    return play


@pytest.fixture
def late() -> Play:
    """An order whose confirmation has had no answer within its deadline."""
    play = Play().begin().reserved().charged().shipped().overdue()
    sweep_deadlines()
    assert play.status == ("SUSPENDED", "")
    return play


def refund_delivery(play: Play) -> dict[str, Any]:
    message_id = play.command("payment.refund").pk
    return dict(Delivery.objects.values("attempts", "dead_at", "token").get(message_id=message_id))


def log(play: Play) -> list[tuple[str, str, str, str, str]]:
    rows = OperatorAction.objects.filter(key=play.order_id).order_by("id")
    return list(rows.values_list("operator", "action", "reason", "reference", "result"))


def untouched(play: Play, act: Callable[[], object], error: type[Exception], why: str) -> None:
    """Check that the act is refused and changes nothing."""
    before = (play.saga().updated_at, play.steps, play.commands, [c.status for c in play.cases], log(play))
    with pytest.raises(error, match=why):
        act()
    after = (play.saga().updated_at, play.steps, play.commands, [c.status for c in play.cases], log(play))
    assert before == after


def test_a_retry_sends_the_dead_command_again_with_its_key_and_fresh_attempts(stuck: Play) -> None:
    saga = stuck.saga()
    before = stuck.commands

    result = services.retry(saga_id=saga.pk, **WHY)

    assert result == "requested"
    assert stuck.commands == before
    assert refund_delivery(stuck) == {"attempts": 0, "dead_at": None, "token": None}
    assert stuck.status == ("COMPENSATING", "shipping_refused")
    assert stuck.steps["charge-payment"] == "COMPENSATING"
    [case] = stuck.cases
    assert (case.status, case.resolution, case.reason) == (Case.Status.CLOSED, "retried", "the customer called")
    assert log(stuck) == [("grace", "retry", "the customer called", "", "requested")]
    stuck.undone("charge-payment")
    assert stuck.commands[-1] == ("inventory.release", "reserve-inventory", "compensation")


def test_a_retry_that_fails_again_opens_a_case_again(stuck: Play) -> None:
    services.retry(saga_id=stuck.saga().pk, **WHY)
    refund = stuck.command("payment.refund")
    kill(refund, "payments")

    stuck.hear(notice(refund, "payments"), step="charge-payment", direction=COMPENSATION)

    assert stuck.status == ("SUSPENDED", "shipping_refused")
    assert [(case.status, case.resolution) for case in stuck.cases] == [("CLOSED", "retried"), ("OPEN", "")]


def test_a_retry_with_nothing_left_to_send_again_sends_a_new_generation(stuck: Play) -> None:
    """The first command was answered for good, so its place at the barrier and its key are used up."""
    Delivery.objects.exclude(destination="sagas").delete()

    assert services.retry(saga_id=stuck.saga().pk, **WHY) == "requested"

    assert stuck.commands[-1] == ("payment.refund", "charge-payment~2", "compensation")
    assert stuck.saga().steps["charge-payment"]["generation"] == 2
    stuck.undone("charge-payment")
    assert stuck.steps["charge-payment"] == "COMPENSATING"
    stuck.undone("charge-payment~2")
    assert stuck.steps["charge-payment"] == "COMPENSATED"


def test_a_retry_after_a_missed_deadline_waits_for_the_command_that_is_still_on_its_way(late: Play) -> None:
    """Nothing has failed, so nothing may be done a second time under another key."""
    before = late.commands

    assert services.retry(saga_id=late.saga().pk, **WHY) == "requested"

    assert late.commands == before
    assert late.status == ("RUNNING", "")
    assert late.steps["confirm-order"] == "RUNNING"
    assert late.saga().due_at is not None
    assert late.confirmed().status == ("COMPLETED", "")


def test_a_step_that_was_late_and_then_died_is_sent_again_by_a_retry(late: Play) -> None:
    confirm = late.command("order.confirm")
    kill(confirm, "orders")
    late.hear(notice(confirm, "orders"), step="confirm-order")
    assert len(late.cases) == 1
    before = late.commands

    services.retry(saga_id=late.saga().pk, **WHY)

    assert late.commands == before
    assert Delivery.objects.get(message_id=confirm.pk).dead_at is None


def test_a_skip_goes_on_without_the_step_and_its_dead_command(stuck: Play) -> None:
    assert services.skip(saga_id=stuck.saga().pk, **WHY) == "requested"

    assert stuck.steps["charge-payment"] == "SKIPPED"
    assert stuck.commands[-1] == ("inventory.release", "reserve-inventory", "compensation")
    assert not Delivery.objects.filter(message_id=stuck.command("payment.refund").pk).exists()
    assert [case.resolution for case in stuck.cases] == ["skipped"]


def test_a_resolve_records_what_was_done_by_hand_and_goes_on(stuck: Play) -> None:
    assert services.resolve(saga_id=stuck.saga().pk, **BY_HAND) == "requested"

    assert stuck.steps["charge-payment"] == "RESOLVED"
    [case] = stuck.cases
    assert (case.resolution, case.reference) == ("resolved", "BANK-7")
    assert log(stuck) == [("grace", "resolve", "the customer called", "BANK-7", "requested")]
    assert not Delivery.objects.filter(message_id=stuck.command("payment.refund").pk).exists()


def test_resolving_the_last_step_ends_the_saga_at_once(late: Play) -> None:
    assert services.resolve(saga_id=late.saga().pk, **BY_HAND) == "done"

    assert late.status == ("COMPLETED", "")


def test_an_abandon_closes_the_saga_as_it_is(stuck: Play) -> None:
    before = stuck.commands

    assert services.abandon(saga_id=stuck.saga().pk, **WHY) == "awaits approval"
    assert approved_by("ada") == "done"

    assert stuck.status == ("ABANDONED", "shipping_refused")
    assert stuck.commands == before
    assert stuck.steps["charge-payment"] == "STUCK"
    assert stuck.saga().ended_at is not None
    assert [case.resolution for case in stuck.cases] == ["abandoned"]
    stuck.undone("charge-payment")
    assert stuck.status == ("ABANDONED", "shipping_refused")


def test_a_compensate_turns_a_running_saga_back() -> None:
    play = Play().begin().reserved().charged()

    assert services.compensate(saga_id=play.saga().pk, **WHY) == "requested"

    assert play.status == ("COMPENSATING", "cancelled_by_operator")
    assert play.commands[-1] == ("shipment.cancel", "create-shipment", "compensation")
    assert log(play) == [("grace", "compensate", "the customer called", "", "requested")]


def test_past_the_pivot_nobody_turns_a_saga_back() -> None:
    play = Play().begin().reserved().charged().shipped()

    untouched(
        play,
        lambda: services.compensate(saga_id=play.saga().pk, **WHY),
        Refused,
        "past the point of no return; offer a return",
    )


def test_a_saga_that_turns_back_already_or_has_ended_is_not_turned_again(stuck: Play) -> None:
    done = Play().begin().reserved().charged().shipped().confirmed()

    untouched(stuck, lambda: services.compensate(saga_id=stuck.saga().pk, **WHY), Refused, "turning back already")
    untouched(done, lambda: services.compensate(saga_id=done.saga().pk, **WHY), Refused, "has ended: COMPLETED")


@pytest.mark.parametrize("action", ["retry", "skip", "resolve"])
def test_where_nothing_is_stuck_there_is_nothing_to_do(action: str) -> None:
    play = Play().begin()
    given = BY_HAND if action == "resolve" else WHY

    untouched(
        play,
        lambda: getattr(services, action)(saga_id=play.saga().pk, **given),
        Refused,
        "nothing is stuck: the saga is RUNNING",
    )


@pytest.mark.parametrize("action", ["retry", "skip", "resolve", "abandon"])
def test_an_ended_saga_is_left_alone(action: str) -> None:
    play = Play().begin().reserved().charged().shipped().confirmed()
    given = BY_HAND if action == "resolve" else WHY

    untouched(play, lambda: getattr(services, action)(saga_id=play.saga().pk, **given), Refused, "has ended: COMPLETED")


@pytest.mark.parametrize("action", ["retry", "skip", "resolve", "abandon", "compensate"])
def test_nobody_acts_on_what_has_changed_since(stuck: Play, action: str) -> None:
    saga = stuck.saga()
    stuck.undone("charge-payment")
    given = BY_HAND if action == "resolve" else WHY

    untouched(
        stuck,
        lambda: getattr(services, action)(saga_id=saga.pk, seen_at=saga.updated_at, **given),
        StaleView,
        "it is COMPENSATING now; look again",
    )


def test_who_has_seen_it_as_it_is_may_act(stuck: Play) -> None:
    saga = stuck.saga()

    assert services.skip(saga_id=saga.pk, seen_at=saga.updated_at, **WHY) == "requested"


@pytest.mark.parametrize("reason", ["", "  "])
def test_an_action_needs_a_reason_and_a_resolution_its_reference(stuck: Play, reason: str) -> None:
    saga_id = stuck.saga().pk

    untouched(stuck, lambda: services.skip(saga_id=saga_id, **{**WHY, "reason": reason}), ReasonMissing, "reason")
    untouched(
        stuck,
        lambda: services.resolve(saga_id=saga_id, **{**BY_HAND, "reference": reason}),
        ReasonMissing,
        "reference",
    )


@pytest.mark.parametrize("seen", [True, False])
def test_of_two_operators_at_once_one_wins_and_the_other_is_told(stuck: Play, seen: bool) -> None:
    saga = stuck.saga()
    seen_at = saga.updated_at if seen else None

    def act(service: Callable[..., str], given: dict[str, str]) -> str:
        try:
            return service(saga_id=saga.pk, seen_at=seen_at, **given)
        except Refused as refusal:
            return type(refusal).__name__

    results = side_by_side(
        [lambda: act(services.resolve, BY_HAND), lambda: act(services.skip, WHY)],
    )

    assert sorted(results) == sorted(["requested", "StaleView" if seen else "Refused"])
    assert len(log(stuck)) == 1
    assert [case.status for case in stuck.cases] == ["CLOSED"]
    releases = [command for command in stuck.commands if command[0] == "inventory.release"]
    assert len(releases) == 1


def test_an_operator_and_an_answer_at_once_end_in_one_way_only(stuck: Play) -> None:
    saga_id = stuck.saga().pk
    refunded = PaymentRefunded(order_id=stuck.order_id, amount=1250, currency="EUR")
    stuck.say(refunded, step="charge-payment", direction=COMPENSATION)

    def skip() -> str:
        try:
            return services.skip(saga_id=saga_id, **WHY)
        except Refused:
            return "refused"

    def listen() -> str:
        return str(run_engine())

    side_by_side([skip, listen])

    assert stuck.steps["charge-payment"] in {"SKIPPED", "COMPENSATED"}
    releases = [command for command in stuck.commands if command[0] == "inventory.release"]
    assert len(releases) == 1
    assert [case.status for case in stuck.cases] == ["CLOSED"]


def test_what_was_seen_is_kept_and_what_was_done_cannot_be_changed(stuck: Play) -> None:
    services.skip(saga_id=stuck.saga().pk, **WHY)

    action = OperatorAction.objects.get(key=stuck.order_id)
    assert action.seen["status"] == "SUSPENDED"
    assert {step["step"]: step["status"] for step in action.seen["steps"]}["charge-payment"] == "STUCK"
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        OperatorAction.objects.filter(pk=action.pk).update(reason="another")
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        OperatorAction.objects.filter(pk=action.pk).delete()


def test_compensations_count_as_such_whoever_asks_for_them() -> None:
    play = Play().begin().reserved()
    labels = {"saga": "order-fulfilment", "flow": "orchestrated"}
    before = REGISTRY.get_sample_value("saga_compensations_total", labels) or 0

    services.compensate(saga_id=play.saga().pk, **WHY)

    assert (REGISTRY.get_sample_value("saga_compensations_total", labels) or 0) - before == 1


def dead_at_both() -> tuple[UUID, Case, Case]:
    """Return an event that is dead at two consumers, and the case of each."""
    play = Play().begin()
    created = play.command("order.created")
    execute(
        "INSERT INTO outbox_delivery (message_id, message_time, destination, lane, kind, type, ordering_key)"
        " SELECT id, time, 'notifications', 'relay', kind, type, ordering_key FROM outbox_message WHERE id = %s",
        created.pk,
    )
    for destination in ("analytics", "notifications"):
        kill(created, destination)
        play.hear(notice(created, destination))
    one, other = play.cases
    return created.pk, one, other


def test_retrying_one_case_of_a_message_leaves_the_other_ones_dead() -> None:
    message_id, one, other = dead_at_both()

    assert services.close_message_case(case_id=one.pk, action="retry", **WHY) == "requested"

    assert _dead(message_id) == {"analytics": False, "notifications": True}
    other.refresh_from_db()
    assert other.status == Case.Status.OPEN


def test_abandoning_one_case_of_a_message_keeps_the_other_ones_delivery() -> None:
    message_id, one, other = dead_at_both()

    assert services.close_message_case(case_id=one.pk, action="abandon", **WHY) == "awaits approval"
    assert approved_by("ada") == "done"

    assert _dead(message_id) == {"notifications": True}
    one.refresh_from_db()
    other.refresh_from_db()
    assert (one.resolution, other.status) == ("abandoned", "OPEN")


def test_a_closed_case_and_a_case_of_a_saga_are_not_settled_as_a_message(stuck: Play) -> None:
    _, one, _ = dead_at_both()
    services.close_message_case(case_id=one.pk, action="abandon", **WHY)
    approved_by("ada")

    with pytest.raises(Refused, match="closed already: abandoned"):
        services.close_message_case(case_id=one.pk, action="retry", **WHY)
    with pytest.raises(Refused, match="belongs to a saga"):
        services.close_message_case(case_id=stuck.cases[0].pk, action="abandon", **WHY)
    assert refund_delivery(stuck)["dead_at"] is not None


def _dead(message_id: UUID) -> dict[str, bool]:
    rows = Delivery.objects.filter(message_id=message_id).values_list("destination", "dead_at")
    return {destination: dead_at is not None for destination, dead_at in rows}
