"""Two sweeps of one ledger at once, as two beats or an impatient operator start them, do everything once."""

import signal
from collections.abc import Iterator

import pytest
from pytest_django import Settings
from uuid_utils.compat import uuid7

from outbox.models import Message
from outbox.reconciliation import Report
from payments import gateways
from payments.models import Mismatch, Refund
from payments.reconciliation import reconcile
from sagas.models import Case
from tests.factories.charges import foreign_charge, release, undone_before_it_arrived
from tests.integration.simulator.process import Simulator
from tests.messaging import drain, refill_bucket
from tests.threads import side_by_side

ROOMS = ["outbox", "orders", "inventory", "payments", "shipping", "notifications", "analytics", "sagas"]
pytestmark = pytest.mark.django_db(transaction=True, available_apps=ROOMS)

SWEEPS = 4
TIMEOUT_SECONDS = 0.3


@pytest.fixture
def bank(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> Iterator[Simulator]:
    """Start a bank with an empty ledger."""
    simulator = Simulator(tmp_path_factory.mktemp("bank") / "ledger.sqlite3")
    settings.PAYMENT_GATEWAY = "simulated"
    settings.BANK_URL = f"{simulator.url}/bank"
    settings.GATEWAY_TIMEOUT_SECONDS = TIMEOUT_SECONDS
    settings.RECONCILIATION_TOLERANCE_SECONDS = 0
    yield simulator
    client = gateways._bank(settings.BANK_URL, TIMEOUT_SECONDS)
    for service in (client._service, client._ledger):
        service._open_client().close()
    simulator.stop(signal.SIGKILL)


def sweep() -> Report:
    """Sweep once."""
    report = reconcile()
    assert report is not None
    return report


def test_a_late_charge_and_a_mismatch_are_dealt_with_once(bank: Simulator) -> None:
    refill_bucket(1_000)
    charge = undone_before_it_arrived(bank)
    release(bank, charge)
    order = str(uuid7())
    foreign_charge(bank, order=order, key=f"{order}-x")

    reports = side_by_side([sweep] * SWEEPS)
    drain()

    assert sum(report.repaired for report in reports) == 1
    assert bank.kinds("bank", charge.order) == ["charge", "refund"]
    assert Refund.objects.count() == 1
    told = Message.objects.filter(ordering_key=charge.order_id, type="payment.refunded", correlation_id=None)
    assert told.count() == 1
    assert [(m.finding, m.key) for m in Mismatch.objects.filter(order_id=order)] == [
        ("charge_unexplained", f"{order}-x")
    ]
    assert Message.objects.filter(type="payment.mismatch_found").count() == Mismatch.objects.count() == 1
    assert Case.objects.filter(key=order).count() == 1
