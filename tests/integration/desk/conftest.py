"""What the tests of the desk's pages have in common."""

import signal
from collections.abc import Iterator

import pytest
from pytest_django import Settings

from outbox import outcomes
from payments import gateways
from sagas.definition import definitions
from shipping import carriers
from tests.integration.desk.late_charge import CHARGE_LAST, LATE_CHARGE
from tests.integration.simulator.process import Simulator
from tests.messaging import LONG, refill_bucket

TIMEOUT_SECONDS = 0.5


@pytest.fixture(autouse=True)
def nobody_outside(settings: Settings) -> None:
    """Let pages that ask bank and carrier find some that answer at once and remember nothing.

    These tests run in a transaction, in which nothing outside may be called; those that need a real bank take one.
    """
    settings.PAYMENT_GATEWAY = settings.CARRIER = "instant"


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """Start one simulator for the module."""
    simulator = Simulator(tmp_path_factory.mktemp("outside") / "ledger.sqlite3")
    yield simulator
    for client in (
        gateways._bank(f"{simulator.url}/bank", TIMEOUT_SECONDS),
        gateways._bank(f"{simulator.url}/bank", TIMEOUT_SECONDS, TIMEOUT_SECONDS),
        carriers._simulated(f"{simulator.url}/carrier", TIMEOUT_SECONDS),
        carriers._simulated(f"{simulator.url}/carrier", TIMEOUT_SECONDS, TIMEOUT_SECONDS),
    ):
        for service in (client._service, client._ledger):
            service._open_client().close()
    simulator.stop(signal.SIGTERM)


@pytest.fixture
def bank(process: Simulator, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """Lend bank and carrier for one test, and a saga in which a charge can be stuck."""
    settings.PAYMENT_GATEWAY = settings.CARRIER = "simulated"
    settings.BANK_URL, settings.CARRIER_URL = f"{process.url}/bank", f"{process.url}/carrier"
    settings.GATEWAY_TIMEOUT_SECONDS = TIMEOUT_SECONDS
    for definition in (LATE_CHARGE, CHARGE_LAST):
        monkeypatch.setitem(definitions(), (definition.name, definition.version), definition)
    monkeypatch.setattr(outcomes, "backoff", lambda _policy, _attempt: LONG)
    refill_bucket()
    yield process
    process.control("bank", down=False, hold=False)
