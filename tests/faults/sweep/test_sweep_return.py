"""The customer sends back what was delivered: crashed everywhere, the order has its one end."""

from __future__ import annotations

from tests.faults.sweep.frame import Frame
from tests.faults.sweep.scenarios import RETURN
from tests.faults.sweep.sweeping import Sweep


def test_sweep_return(frame: Frame) -> None:
    """Each point is hit on all three sides; ledgers, totals, mailbox and audit agree throughout."""
    assert frame.sweep(name=RETURN.name, scenario=RETURN, crash=Sweep.crash_at_every_point) == []
