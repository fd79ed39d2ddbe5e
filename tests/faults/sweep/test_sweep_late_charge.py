"""A charge arrives when its order is cancelled and closed: crashed everywhere, the order has its one end."""

from __future__ import annotations

from tests.faults.sweep.frame import Frame
from tests.faults.sweep.scenarios import LATE_CHARGE
from tests.faults.sweep.sweeping import Sweep


def test_sweep_late_charge(frame: Frame) -> None:
    """Each point is hit on all three sides; ledgers, totals, mailbox and audit agree throughout."""
    assert frame.sweep(name=LATE_CHARGE.name, scenario=LATE_CHARGE, crash=Sweep.crash_at_every_point) == []
