"""A worker whose clock is minutes off: deadlines are set and missed by the database's clock."""

from datetime import timedelta

import pytest
import time_machine
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from sagas.deadlines import sweep_deadlines
from sagas.models import SagaInstance
from tests.factories.plays import Play
from tests.messaging import execute

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["outbox", "sagas"])

AHEAD, BEHIND = timedelta(hours=1), timedelta(hours=-1)


@pytest.mark.parametrize("off", [AHEAD, BEHIND])
def test_a_deadline_is_set_by_the_clock_of_the_database(off: timedelta) -> None:
    with time_machine.travel(timezone.now() + off):
        play = Play().begin()

    [left] = SagaInstance.objects.filter(key=play.order_id).values_list(F("due_at") - Now(), flat=True)
    assert timedelta(minutes=9) < left <= timedelta(minutes=10)


@pytest.mark.parametrize("off", [AHEAD, BEHIND])
def test_a_deadline_is_missed_by_the_clock_of_the_database(off: timedelta) -> None:
    late, in_time = Play().begin().reserved(), Play().begin().reserved()
    saga = late.saga()
    steps = {**saga.steps, "charge-payment": {**saga.steps["charge-payment"], "started_at": an_instant_ago()}}
    SagaInstance.objects.filter(pk=saga.pk).update(steps=steps, due_at=Now())

    with time_machine.travel(timezone.now() + off):
        sweep_deadlines()

    assert late.status == ("COMPENSATING", "deadline_exceeded")
    assert in_time.status == ("RUNNING", "")


def an_instant_ago() -> str:
    """Return when a step that is overdue by a second was begun."""
    [(at,)] = execute("SELECT now() - interval '5 minutes 1 second'")
    return str(at.isoformat())
