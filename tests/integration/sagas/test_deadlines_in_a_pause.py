"""A destination that a person has paused turns no saga back and opens no case, until patience ends."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction
from django.db.models.functions import Now
from pytest_django import Settings
from uuid_utils.compat import uuid7

from outbox import pausing
from outbox.models import Delivery
from sagas.deadlines import sweep_deadlines
from tests.factories.plays import Play
from tests.integration.sagas.test_deadlines_in_an_outage import late_since, time_left

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["outbox", "sagas"])


def pause(destination: str, *, compensations_only: bool = False) -> None:
    with transaction.atomic():
        pausing.pause(
            destination=destination, operator="ada", reason="they asked us to", compensations_only=compensations_only
        )


def resume(destination: str) -> None:
    with transaction.atomic():
        pausing.resume(destination=destination)


def test_a_step_whose_destination_is_paused_gets_more_time_until_it_is_resumed() -> None:
    play = late_since(Play().begin().reserved(), timedelta(minutes=6))
    pause("payments")
    before = play.commands

    assert sweep_deadlines() == 1
    assert (play.status, play.commands) == (("RUNNING", ""), before)
    assert timedelta(seconds=5) < time_left(play) <= timedelta(seconds=10)

    resume("payments")
    late_since(play, timedelta(minutes=6))
    sweep_deadlines()
    assert play.status == ("COMPENSATING", "deadline_exceeded")


def test_another_destinations_pause_excuses_nobody() -> None:
    play = late_since(Play().begin().reserved(), timedelta(minutes=6))
    pause("shipping")

    sweep_deadlines()

    assert play.status == ("COMPENSATING", "deadline_exceeded")


def test_a_pause_of_compensations_excuses_no_action_and_opens_no_case_for_an_undo() -> None:
    pause("payments", compensations_only=True)
    action = late_since(Play().begin().reserved(), timedelta(minutes=6))
    sweep_deadlines()
    assert action.status == ("COMPENSATING", "deadline_exceeded")

    late_since(action, timedelta(minutes=61))
    sweep_deadlines()

    assert action.status == ("COMPENSATING", "deadline_exceeded")
    assert list(action.cases) == []


def test_an_answer_that_waits_for_the_paused_engine_is_not_blamed_on_the_step() -> None:
    """The command is done; what it led to has been said, and nobody may hear it yet."""
    play = late_since(Play().begin().reserved(), timedelta(minutes=6))
    charge = play.command("payment.charge")
    Delivery.objects.filter(message_id=charge.pk).delete()
    Delivery.objects.create(
        message_id=uuid7(),
        message_time=Now(),
        destination="sagas",
        lane="relay",
        kind="event",
        type="payment.charged",
        ordering_key=play.order_id,
    )
    pause("sagas")

    sweep_deadlines()
    assert play.status == ("RUNNING", "")

    resume("sagas")
    late_since(play, timedelta(minutes=6))
    sweep_deadlines()
    assert play.status == ("COMPENSATING", "deadline_exceeded")


def test_patience_ends_with_a_pause_as_with_an_outage(settings: Settings) -> None:
    settings.OUTAGE_PATIENCE_SECONDS = 60
    play = late_since(Play().begin().reserved(), timedelta(minutes=6, seconds=1))
    pause("payments")

    sweep_deadlines()

    assert play.status == ("COMPENSATING", "deadline_exceeded")
