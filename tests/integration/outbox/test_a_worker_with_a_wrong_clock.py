"""A worker whose clock is minutes off: what is due, and until when it rests, is told by the database's clock."""

from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone

from outbox.claims import claim_joined, claim_leased, due
from outbox.consumers import Retry, RetryPolicy
from outbox.effects import EffectPump
from outbox.joined import deliver
from outbox.models import Delivery, Lane
from tests.messaging import Act, Bank, Clerk, Noted, Wiring, rest_of, say

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["outbox"])

AHEAD, BEHIND = timedelta(minutes=5), timedelta(minutes=-5)
# A rest of nothing to two minutes, less than the clock is off.
PATIENT = RetryPolicy(attempts=3, bug_attempts=3, base=timedelta(minutes=2), cap=timedelta(minutes=2))


@pytest.mark.parametrize("off", [AHEAD, BEHIND])
def test_what_is_due_is_taken_and_what_is_not_is_not(wiring: Wiring, off: timedelta) -> None:
    consumer = wiring.consumer({Noted: Clerk().joined(), Act: Bank().effectful()})
    say(Noted(number=1), Act(number=1))
    [*late] = say(Noted(number=2), Act(number=2))
    Delivery.objects.filter(message_id__in=late).update(available_at=timezone.now() + timedelta(minutes=2))

    with time_machine.travel(timezone.now() + off):
        seen = [due(lane=lane, destinations=["tester"], using="default") for lane in (Lane.RELAY, Lane.EFFECTS)]
        told = claim_joined(consumer=consumer, lane=Lane.RELAY, types=["test.noted"], limit=10, using="default")
        called = claim_leased(consumer=consumer, lane=Lane.EFFECTS, types=["test.act"], limit=10, using="default")

    assert seen == [{"tester"}, {"tester"}]
    assert [one.known.data.number for one in told] == [1]
    assert [one.known.data.number for one in called] == [1]


@pytest.mark.parametrize("off", [AHEAD, BEHIND])
def test_rests_and_leases_last_as_long_as_they_should(wiring: Wiring, off: timedelta) -> None:
    consumer = wiring.consumer({Noted: Clerk(lambda _: Retry("busy")).joined(PATIENT), Act: Bank().effectful()})
    [noted, acted] = say(Noted(), Act())

    with time_machine.travel(timezone.now() + off):
        deliver(consumer=consumer, lane=Lane.RELAY, types=["test.noted"], limit=10)
        pump = EffectPump()
        pump.claim(consumer=consumer, lane=Lane.EFFECTS, types=["test.act"], limit=10)

    rests = [rest_of(noted), rest_of(acted)]
    pump.close()
    assert all(timedelta(minutes=-1) < rest < timedelta(minutes=2) for rest in rests)
