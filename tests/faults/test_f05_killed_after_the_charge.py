"""F05: the bank has charged, and whoever asked it dies before that is written down.

A retry by the same key finds the charge. The bank's own ledger shows one, whatever dies.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from outbox.crash_points import CrashPoints, Entry, Side
from tests.faults.sweep.scenarios import FULFILMENT, TURN_BACK, Scenario
from tests.faults.sweep.sweeping import Point, Sweep
from tests.running import running_shop

RECORD = "payments_payment"


@pytest.fixture(scope="module", params=[FULFILMENT, TURN_BACK], ids=lambda scenario: scenario.name)
def sweep(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweep]:
    """Start a shop that can be made to crash, and learn where an order passes that is delivered, or given up."""
    folder = tmp_path_factory.mktemp("crash-points")
    scenario: Scenario = request.param
    with running_shop(
        name="killed_charge", RELAY_LEASE_SECONDS="1", GATEWAY_TIMEOUT_SECONDS="0.5", CRASH_POINTS=str(folder)
    ) as shop:
        sweep = Sweep(shop=shop, points=CrashPoints(folder), scenario=scenario)
        sweep.learn()
        yield sweep
        sweep.close()
        assert shop.audit() == (0, [])


def first(sweep: Sweep, name: str) -> Point:
    """Return the first point whose name holds this."""
    return next(point for point in sweep.points if name in point.name)


def after_crash(sweep: Sweep, point: Point, side: Side) -> list[Entry]:
    """Crash there; the order must have its end, and all books agree. Returns what was passed afterwards."""
    trial = sweep.crash_at(point.at(side), roles=(point.role,))
    assert (trial.is_hit, trial.end, trial.problems) == (True, sweep.scenario.end, [])
    [crashed] = [place for place, entry in enumerate(trial.journal) if entry.side]
    return trial.journal[crashed + 1 :]


def calls(passed: list[Entry]) -> list[str]:
    """Return what the bank was asked about the charge, up to the first record of its answer."""
    recorded = next(place for place, entry in enumerate(passed) if RECORD in entry.name)
    return [entry.name for entry in passed[:recorded] if entry.name.startswith("bank ") and entry.role != "sweeps"]


def test_f05_killed_when_the_bank_has_charged_the_retry_finds_the_charge(sweep: Sweep) -> None:
    """The process dies with the answer in its hands; the next one asks by key and does not charge again."""
    passed = after_crash(sweep, first(sweep, "bank charge"), Side.AFTER)

    assert calls(passed) == ["bank look_up"]


def test_f05_killed_before_the_record_commits_the_retry_finds_the_charge(sweep: Sweep) -> None:
    """The record rolls back with the process; the charge is looked up and recorded by another."""
    passed = after_crash(sweep, first(sweep, RECORD), Side.BEFORE)

    assert calls(passed) == ["bank look_up"]


def test_f05_an_answer_that_is_lost_is_looked_up(sweep: Sweep) -> None:
    """The connection breaks after the charge: unknown is not failed, and nothing is charged again."""
    passed = after_crash(sweep, first(sweep, "bank charge"), Side.LOST)

    assert "bank look_up" in [entry.name for entry in passed]
    assert "bank charge" not in [entry.name for entry in passed]


def test_f05_killed_before_the_bank_was_asked_it_is_charged_once(sweep: Sweep) -> None:
    """The look-up finds nothing, so the charge is made, under the key that was fixed before."""
    passed = after_crash(sweep, first(sweep, "bank charge"), Side.BEFORE)

    assert calls(passed) == ["bank look_up", "bank charge"]


def test_f05_killed_after_the_record_nobody_asks_the_bank_for_the_charge_again(sweep: Sweep) -> None:
    """Recorded is recorded, whether the process that did it knows or not."""
    for side in (Side.AFTER, Side.LOST):
        passed = after_crash(sweep, first(sweep, RECORD), side)

        assert "bank charge" not in [entry.name for entry in passed]
