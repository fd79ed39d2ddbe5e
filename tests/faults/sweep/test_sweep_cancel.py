"""The customer cancels while the charge is under way: crashed everywhere, the order has its one end."""

from __future__ import annotations

from tests.faults.sweep.frame import Frame
from tests.faults.sweep.scenarios import CANCEL
from tests.faults.sweep.sweeping import Sweep


def test_sweep_cancel(frame: Frame) -> None:
    """Each point is hit on all three sides; ledgers, totals, mailbox and audit agree throughout."""
    assert frame.sweep(name=CANCEL.name, scenario=CANCEL, crash=Sweep.crash_at_every_point) == []
