"""An outage of bank or carrier turns no saga back and fills no desk, but patience ends."""

from datetime import datetime, timedelta

import pytest
from django.db.models.functions import Now
from django.utils import timezone
from pytest_django import Settings
from uuid_utils.compat import uuid7

from outbox.consumers import OUTAGE
from outbox.models import Delivery
from sagas.deadlines import sweep_deadlines
from tests.factories.plays import Play

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["outbox", "sagas"])


def held_up(play: Play, wire_type: str) -> Play:
    """Let the last command of this type wait for the end of an outage."""
    assert Delivery.objects.filter(message_id=play.command(wire_type).pk).update(error_class=OUTAGE) == 1
    return play


def late_since(play: Play, ago: timedelta) -> Play:
    """Let what is in flight have been sent so long ago, its extension be over, and its deadline be looked at now."""
    saga = play.saga()
    steps = {name: {**state} for name, state in saga.steps.items()}
    for state in steps.values():
        if state.get("status") in ("RUNNING", "COMPENSATING"):
            state["started_at"] = (timezone.now() - ago).isoformat()
            state.pop("extended_to", None)
    type(saga).objects.filter(pk=saga.pk).update(steps=steps, due_at=Now())
    return play


def time_left(play: Play) -> timedelta:
    due_at = play.saga().due_at
    assert due_at is not None
    return due_at - timezone.now()


def extended_to(play: Play, step: str) -> datetime:
    return datetime.fromisoformat(play.saga().steps[step]["extended_to"])


def test_a_step_that_an_outage_holds_up_gets_more_time() -> None:
    play = late_since(held_up(Play().begin().reserved(), "payment.charge"), timedelta(minutes=6))
    before = play.commands

    assert sweep_deadlines() == 1

    assert play.status == ("RUNNING", "")
    assert play.commands == before
    assert timedelta(seconds=5) < time_left(play) <= timedelta(seconds=10)
    assert extended_to(play, "charge-payment") == play.saga().due_at
    assert sweep_deadlines() == 0


def test_once_the_outage_is_over_the_deadline_counts() -> None:
    play = late_since(held_up(Play().begin().reserved(), "payment.charge"), timedelta(minutes=6))
    sweep_deadlines()
    Delivery.objects.filter(message_id=play.command("payment.charge").pk).update(error_class="")
    late_since(play, timedelta(minutes=6))

    sweep_deadlines()

    assert play.status == ("COMPENSATING", "deadline_exceeded")


def test_a_step_that_is_answered_after_its_extension_goes_on_as_ever() -> None:
    play = late_since(held_up(Play().begin().reserved(), "payment.charge"), timedelta(minutes=6))
    sweep_deadlines()

    play.charged()

    assert play.steps["charge-payment"] == "SUCCEEDED"
    assert play.commands[-1][0] == "shipment.create"
    assert timedelta(minutes=9) < time_left(play), "the next step has a deadline of its own"


def test_patience_ends_and_the_saga_turns_back(settings: Settings) -> None:
    settings.OUTAGE_PATIENCE_SECONDS = 60
    play = late_since(held_up(Play().begin().reserved(), "payment.charge"), timedelta(minutes=5, seconds=55))
    sweep_deadlines()
    assert play.status == ("RUNNING", "")
    assert time_left(play) <= timedelta(seconds=5)

    late_since(play, timedelta(minutes=6, seconds=1))
    sweep_deadlines()

    assert play.status == ("COMPENSATING", "deadline_exceeded")
    assert play.commands[-1] == ("payment.refund", "charge-payment", "compensation")


def test_no_case_is_opened_for_refunds_that_wait_for_the_bank() -> None:
    plays = [Play().begin().reserved().overdue() for _ in range(20)]
    sweep_deadlines()
    for play in plays:
        late_since(held_up(play, "payment.refund"), timedelta(minutes=61))

    assert sweep_deadlines() == 20

    assert {play.status for play in plays} == {("COMPENSATING", "deadline_exceeded")}
    assert [case for play in plays for case in play.cases] == []


def test_a_refund_that_has_waited_too_long_is_a_case(settings: Settings) -> None:
    settings.OUTAGE_PATIENCE_SECONDS = 60
    play = Play().begin().reserved().overdue()
    sweep_deadlines()
    late_since(held_up(play, "payment.refund"), timedelta(minutes=62))

    sweep_deadlines()

    assert play.status == ("SUSPENDED", "deadline_exceeded")
    assert [(case.step, case.error_class) for case in play.cases] == [("charge-payment", "DeadlinePassed")]


def test_a_call_in_flight_is_waited_for_until_it_says_what_is_the_matter() -> None:
    play = late_since(Play().begin().reserved(), timedelta(minutes=6))
    in_flight = Delivery.objects.filter(message_id=play.command("payment.charge").pk)
    in_flight.update(token=uuid7(), available_at=Now() + timedelta(seconds=8))

    sweep_deadlines()
    assert play.status == ("RUNNING", "")

    in_flight.update(token=None, available_at=Now(), error_class="TransientError")
    late_since(play, timedelta(minutes=6))
    sweep_deadlines()
    assert play.status == ("COMPENSATING", "deadline_exceeded")


def test_an_outage_excuses_only_those_whom_it_holds_up() -> None:
    waiting = late_since(held_up(Play().begin().reserved(), "payment.charge"), timedelta(minutes=6))
    late = late_since(Play().begin().reserved(), timedelta(minutes=6))

    assert sweep_deadlines() == 2

    assert (waiting.status, late.status) == (("RUNNING", ""), ("COMPENSATING", "deadline_exceeded"))
