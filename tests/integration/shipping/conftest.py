"""The real simulated carrier, with a ledger of its own, and settings that point to it."""

import signal
from collections.abc import Iterator

import pytest
from pytest_django import Settings

from shipping import carriers
from tests.integration.simulator.process import Simulator

TIMEOUT_SECONDS = 0.2


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """Start one simulator for the module."""
    simulator = Simulator(tmp_path_factory.mktemp("carrier") / "ledger.sqlite3")
    yield simulator
    carriers._simulated(f"{simulator.url}/carrier", TIMEOUT_SECONDS)._service._open_client().close()
    simulator.stop(signal.SIGTERM)


@pytest.fixture
def carrier(process: Simulator, settings: Settings) -> Iterator[Simulator]:
    """Lend the carrier for one test, with a short time-out; afterwards it is calm again."""
    settings.CARRIER = "simulated"
    settings.CARRIER_URL = f"{process.url}/carrier"
    settings.GATEWAY_TIMEOUT_SECONDS = TIMEOUT_SECONDS
    yield process
    process.control("carrier", down=False, timeout_ratio=0, timeout_created_ratio=0)
