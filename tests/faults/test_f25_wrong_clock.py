"""F25: the clock of one worker is five minutes off. What is due, and whose lease is over, the database's clock says.

The relay is a process of its own with a wrong clock, for it is the product's own consumers that it serves.
"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from uuid_utils.compat import uuid7

from inventory.contracts import Line, ReserveInventory
from outbox.models import Delivery, Lane
from tests.messaging import execute, say

pytestmark = pytest.mark.django_db(transaction=True)

OFF = [300.0, -300.0]


def run_skewed(off: float, lane: Lane = Lane.RELAY) -> int:
    """Let a relay with a wrong clock deliver what it holds for due; return how many messages it claimed."""
    at = connection.settings_dict
    url = f"postgresql://{at['USER']}:{at['PASSWORD']}@{at['HOST']}:{at['PORT']}/{at['NAME']}"
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.skewed_relay", lane, str(off)],
        env={**os.environ, "DATABASE_URL": url, "ROLE": "relay"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


def reserve(*, due_in: timedelta) -> Delivery:
    """Ask for a reservation that is to be made then, by the database's clock."""
    order_id = uuid7()
    command = ReserveInventory(order_id=order_id, lines=(Line(sku="NONE", quantity=1),))
    [message_id] = say(command, key=order_id, saga_id=uuid7(), step="reserve-inventory")
    Delivery.objects.filter(message_id=message_id).update(available_at=Now() + due_in)
    return Delivery.objects.get(message_id=message_id)


@pytest.mark.parametrize("off", OFF)
def test_f25_only_what_is_due_by_the_database_is_delivered(off: float) -> None:
    """Neither is a rest of two minutes cut short, nor does what is due wait for five."""
    now, later = reserve(due_in=timedelta(0)), reserve(due_in=timedelta(minutes=2))

    run_skewed(off)

    assert list(Delivery.objects.filter(pk__in=[now.pk, later.pk]).values_list("pk", flat=True)) == [later.pk]
    [(told,)] = execute("SELECT count(*) FROM outbox_message WHERE ordering_key = %s", now.ordering_key)
    assert told == 2


@pytest.mark.parametrize("off", OFF)
def test_f25_the_lease_of_another_relay_is_respected(off: float) -> None:
    """What somebody else works on for another two minutes is his, whatever the own clock says."""
    held = reserve(due_in=timedelta(minutes=2))
    Delivery.objects.filter(pk=held.pk).update(token=uuid7(), attempts=1)

    run_skewed(off)

    held = Delivery.objects.annotate(left=F("available_at") - Now()).get(pk=held.pk)
    assert (held.attempts, held.token is None) == (1, False)
