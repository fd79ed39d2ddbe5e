"""The real simulated bank, with a ledger of its own, and settings that point to it."""

import signal
from collections.abc import Iterator

import pytest
from pytest_django import Settings

from outbox import outcomes
from payments import gateways
from tests.integration.simulator.process import Simulator
from tests.messaging import LONG

TIMEOUT_SECONDS = 0.2


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """Start one simulator for the module."""
    simulator = Simulator(tmp_path_factory.mktemp("bank") / "ledger.sqlite3")
    yield simulator
    client = gateways._bank(f"{simulator.url}/bank", TIMEOUT_SECONDS)
    for service in (client._service, client._ledger):
        service._open_client().close()
    simulator.stop(signal.SIGTERM)


@pytest.fixture
def bank(process: Simulator, settings: Settings) -> Iterator[Simulator]:
    """Lend the bank for one test, with a short time-out; afterwards it is calm again."""
    settings.PAYMENT_GATEWAY = "simulated"
    settings.BANK_URL = f"{process.url}/bank"
    settings.GATEWAY_TIMEOUT_SECONDS = TIMEOUT_SECONDS
    yield process
    process.control("bank", down=False, latency_ms=0, hold=False, refund_refuse_ratio=0)


@pytest.fixture
def long_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a message that failed rest for an hour: it is tried again when the test says so, never by chance."""
    monkeypatch.setattr(outcomes, "backoff", lambda _policy, _attempt: LONG)
