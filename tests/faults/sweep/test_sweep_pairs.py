"""A second crash during the recovery from a first one, around the money that is taken and given back."""

from __future__ import annotations

from tests.faults.sweep.frame import Frame
from tests.faults.sweep.pairs import crash_in_pairs
from tests.faults.sweep.scenarios import TURN_BACK


def test_sweep_pairs(frame: Frame) -> None:
    """One charge, one refund and nothing kept, whatever two crashes in a row leave behind."""
    assert frame.sweep(name="pairs around the money", scenario=TURN_BACK, crash=crash_in_pairs) == []
