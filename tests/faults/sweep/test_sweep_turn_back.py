"""The carrier refuses after the bank has charged: crashed everywhere, the order has its one end."""

from __future__ import annotations

from tests.faults.sweep.frame import Frame
from tests.faults.sweep.scenarios import TURN_BACK
from tests.faults.sweep.sweeping import Sweep


def test_sweep_turn_back(frame: Frame) -> None:
    """Each point is hit on all three sides; ledgers, totals, mailbox and audit agree throughout."""
    assert frame.sweep(name=TURN_BACK.name, scenario=TURN_BACK, crash=Sweep.crash_at_every_point) == []
