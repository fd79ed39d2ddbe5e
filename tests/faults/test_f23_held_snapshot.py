"""F23: somebody holds a snapshot for minutes under load. Dead rows pile up in the queue; the relays hardly mind.

The calm rounds and the held ones are the same work in one run. A snapshot is not held for long here, but for as many
messages as a busy shop handles in minutes: it is their dead rows that matter. What is measured is the time of the
processor, ours and the database's together, so that whatever else the machine does meanwhile counts little.
"""

from __future__ import annotations

from collections.abc import Callable

import psutil
import pytest
from django.db import connection
from prometheus_client import REGISTRY

from outbox.models import Lane
from outbox.selectors import refresh_gauges
from tests.faults.conftest import FIGURES
from tests.messaging import Clerk, Noted, Wiring, drain, execute, say, second_connection

pytestmark = pytest.mark.django_db(transaction=True)

ROUND = 2_000
# Before a snapshot has done its harm: 24,000 dead rows are what brought another queue from 3 to 180 ms for a claim.
HARM_ROUNDS = 12
# The clock of processes ticks a hundred times a second; a round takes about ten ticks.
MEASURED_ROUNDS = 10
LEAST_SHARE = 0.7


def publish() -> None:
    """Publish a round of messages."""
    for _ in range(4):
        say(*(Noted(number=number) for number in range(ROUND // 4)))


def spent() -> float:
    """Return the processor seconds that this process and its server process have used so far."""
    connection.ensure_connection()
    processes = psutil.Process(), psutil.Process(connection.connection.info.backend_pid)
    return sum(times.user + times.system for times in (process.cpu_times() for process in processes))


def pace(rounds: int) -> float:
    """Deliver so many rounds, each after a vacuum; return the messages in a second of the processor."""
    seconds = 0.0
    for _ in range(rounds):
        publish()
        vacuum()
        began = spent()
        assert drain(Lane.RELAY) == ROUND
        seconds += spent() - began
    return rounds * ROUND / seconds


def vacuum() -> None:
    """Do what autovacuum does between two rounds, now and not whenever it comes by."""
    execute("VACUUM outbox_delivery")


def test_f23_throughput_under_a_held_snapshot(wiring: Wiring, record_property: Callable[[str, object], None]) -> None:
    """More than 70 % of calm after tens of thousands of dead rows that nobody can clean; the gauge tells of it."""
    wiring.consumer({Noted: Clerk().joined()})
    pace(1)
    calm = pace(MEASURED_ROUNDS)
    with second_connection() as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT 1")
        for _ in range(HARM_ROUNDS):
            publish()
            drain(Lane.RELAY)
        held = pace(MEASURED_ROUNDS)
        refresh_gauges()
        age = REGISTRY.get_sample_value("outbox_oldest_xmin_age") or 0.0
    after = pace(MEASURED_ROUNDS)

    paces = f"calm {calm:.0f}, held {held:.0f} ({held / calm:.0%}), after {after:.0f}"
    record_property(FIGURES, f"messages per processor second: {paces}; xmin age {age:.0f}")
    assert age > HARM_ROUNDS
    assert held > LEAST_SHARE * calm
