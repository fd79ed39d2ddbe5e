"""The real simulated bank, with a ledger of its own, and settings that point to it."""

import signal
from collections.abc import Iterator

import pytest
from pytest_django import Settings

from payments import gateways
from tests.integration.simulator.process import Simulator

TIMEOUT_SECONDS = 0.2


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """Start one simulator for the module."""
    simulator = Simulator(tmp_path_factory.mktemp("bank") / "ledger.sqlite3")
    yield simulator
    gateways._bank(f"{simulator.url}/bank", TIMEOUT_SECONDS)._service._open_client().close()
    simulator.stop(signal.SIGTERM)


@pytest.fixture
def bank(process: Simulator, settings: Settings) -> Iterator[Simulator]:
    """Lend the bank for one test, with a short time-out; afterwards it is calm again."""
    settings.PAYMENT_GATEWAY = "simulated"
    settings.BANK_URL = f"{process.url}/bank"
    settings.GATEWAY_TIMEOUT_SECONDS = TIMEOUT_SECONDS
    yield process
    process.control("bank", down=False, latency_ms=0)
