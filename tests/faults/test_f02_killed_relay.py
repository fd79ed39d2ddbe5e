"""F02: a relay dies with work in its hands. Its lease runs out, another process delivers, consumers apply once.

The places are found by running, as in the sweep: a claim is the commit that a process makes just before a call.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from outbox.crash_points import CrashPoints, Side, Target
from tests.faults.sweep.scenarios import FULFILMENT
from tests.faults.sweep.sweeping import Point, Sweep, Trial
from tests.running import running_shop


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweep]:
    """Start a shop that can be made to crash, and learn where an order passes."""
    folder = tmp_path_factory.mktemp("crash-points")
    with running_shop(
        name="killed_relay", RELAY_LEASE_SECONDS="1", GATEWAY_TIMEOUT_SECONDS="0.5", CRASH_POINTS=str(folder)
    ) as shop:
        sweep = Sweep(shop=shop, points=CrashPoints(folder), scenario=FULFILMENT)
        sweep.learn()
        yield sweep
        sweep.close()
        assert shop.audit() == (0, [])


def place_of(sweep: Sweep, name: str) -> int:
    """Return where among the points the first is whose name holds this."""
    return next(place for place, point in enumerate(sweep.points) if name in point.name)


def claim_before(sweep: Sweep, call: str) -> Point:
    """Return the commit that the caller makes just before a call."""
    place = place_of(sweep, call)
    role = sweep.points[place].role
    return next(p for p in reversed(sweep.points[:place]) if p.role == role and p.name.startswith("commit "))


def crash(sweep: Sweep, point: Point, side: Side) -> Trial:
    """Crash there; the order must have ended well, and all books agree."""
    trial = sweep.crash_at(point.at(side), roles=(point.role,))
    assert (trial.is_hit, trial.end, trial.problems) == (True, "CONFIRMED", [])
    return trial


def done_by(trial: Trial, name: str) -> list[int]:
    """Return the processes that passed this point after the crash."""
    [crashed] = [place for place, entry in enumerate(trial.journal) if entry.side]
    return [entry.pid for entry in trial.journal[crashed:] if name in entry.name and not entry.side]


def test_f02_killed_after_the_claim_another_relay_calls(sweep: Sweep) -> None:
    """The lease of the dead runs out; the call is made once, by somebody else."""
    trial = crash(sweep, claim_before(sweep, "carrier create"), Side.AFTER)

    [dead] = [entry.pid for entry in trial.journal if entry.side]
    [caller] = done_by(trial, "carrier create")
    assert caller != dead


@pytest.mark.parametrize(("call", "record"), [("carrier create", "shipping_shipment"), ("mail send", "_email")])
def test_f02_killed_after_handing_over_the_consumer_applies_once(sweep: Sweep, call: str, record: str) -> None:
    """What the carrier has already is found by its key; an e-mail goes out again under the same id."""
    trial = crash(sweep, sweep.points[place_of(sweep, call)], Side.AFTER)

    [dead] = [entry.pid for entry in trial.journal if entry.side]
    [recorder] = done_by(trial, record)
    assert recorder != dead


@pytest.mark.parametrize("record", ["shipping_shipment", "_email", "inventory_reservation", "analytics_orderfact"])
def test_f02_killed_before_settling_it_is_done_and_settled_by_another(sweep: Sweep, record: str) -> None:
    """Nothing of the unsettled batch has happened, leased or joined; another process does all of it, once."""
    trial = crash(sweep, sweep.points[place_of(sweep, record)], Side.BEFORE)

    [dead] = [entry.pid for entry in trial.journal if entry.side]
    assert dead not in done_by(trial, record)
    assert done_by(trial, record) != []


@pytest.mark.parametrize("record", ["shipping_shipment", "_email", "inventory_reservation"])
def test_f02_killed_after_settling_nothing_is_done_again(sweep: Sweep, record: str) -> None:
    """What has committed is never handed over a second time."""
    trial = crash(sweep, sweep.points[place_of(sweep, record)], Side.AFTER)

    assert done_by(trial, record) == []


@pytest.mark.parametrize("record", ["shipping_shipment", "inventory_reservation"])
def test_f02_a_settlement_whose_answer_is_lost_is_not_settled_twice(sweep: Sweep, record: str) -> None:
    """The commit took effect and the relay does not know: it finds nothing left to do."""
    trial = crash(sweep, sweep.points[place_of(sweep, record)], Side.LOST)

    assert done_by(trial, record) == []


def test_f02_killed_on_the_claim_of_a_recovery_too(sweep: Sweep) -> None:
    """The second relay dies like the first one; a third delivers."""
    claim = claim_before(sweep, "carrier create")
    again = Target("commit outbox_delivery", 1, Side.AFTER)

    trial = sweep.crash_at(claim.at(Side.AFTER), again, roles=(claim.role, claim.role))

    assert (trial.is_hit, trial.end, trial.problems) == (True, "CONFIRMED", [])
    assert len({entry.pid for entry in trial.journal if entry.side}) == 2
