"""Simulator processes: one per test module, calm again after every test, and one for a test to kill."""

import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.integration.simulator.process import Simulator


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """Start a process with a new ledger; it must have printed nothing but its first line when it stops."""
    simulator = Simulator(tmp_path_factory.mktemp("simulator") / "new" / "ledger.sqlite3")
    yield simulator
    assert simulator.stop(signal.SIGTERM) == ""


@pytest.fixture
def simulator(process: Simulator) -> Iterator[Simulator]:
    """Lend the module's process, and take back whatever misbehavior the test asked for."""
    yield process
    calm = {"down": False, "latency_ms": 0, "hold": False, "timeout_ratio": 0, "seed": 0}
    process.control("bank", **calm, decline_ratio=0, timeout_charged_ratio=0, refund_refuse_ratio=0)
    process.control("carrier", **calm, refuse_ratio=0, timeout_created_ratio=0)


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Simulator]:
    """Start a process that the test may stop or kill; whatever happens, none is left behind."""
    simulator = Simulator(tmp_path / "ledger.sqlite3")
    yield simulator
    simulator.stop(signal.SIGKILL)


@pytest.fixture
def key() -> str:
    """Make an idempotency key never used before, in the form the product uses."""
    return f"{uuid4()}-{uuid4()}-charge-payment"
