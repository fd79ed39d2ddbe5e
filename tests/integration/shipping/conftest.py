"""The real simulated carrier, with a ledger of its own, and settings that point to it."""

import signal
from collections.abc import Iterator

import pytest
from pytest_django import Settings

from outbox import outcomes
from shipping import carriers
from tests.integration.simulator.process import Simulator
from tests.messaging import LONG

TIMEOUT_SECONDS = 0.2


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """Start one simulator for the module."""
    simulator = Simulator(tmp_path_factory.mktemp("carrier") / "ledger.sqlite3")
    yield simulator
    client = carriers._simulated(f"{simulator.url}/carrier", TIMEOUT_SECONDS)
    for service in (client._service, client._ledger):
        service._open_client().close()
    simulator.stop(signal.SIGTERM)


@pytest.fixture
def carrier(process: Simulator, settings: Settings) -> Iterator[Simulator]:
    """Lend the carrier for one test, with a short time-out; afterwards it is calm again."""
    settings.CARRIER = "simulated"
    settings.CARRIER_URL = f"{process.url}/carrier"
    settings.GATEWAY_TIMEOUT_SECONDS = TIMEOUT_SECONDS
    yield process
    process.control("carrier", down=False, hold=False, timeout_ratio=0, timeout_created_ratio=0)


@pytest.fixture
def long_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a message that failed rest for an hour: it is tried again when the test says so, never by chance."""
    monkeypatch.setattr(outcomes, "backoff", lambda _policy, _attempt: LONG)
