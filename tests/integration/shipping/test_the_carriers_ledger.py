"""The carrier's ledger and our shipments are compared both ways; late parcels are stopped, the rest is a person's."""

import time
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import pytest
from django.db.models import F
from pytest_django import Settings
from uuid_utils.compat import uuid7

from outbox.contracts import COMPENSATION
from outbox.models import Delivery, Message
from outbox.reconciliation import Report
from sagas.models import Case
from shipping.contracts import Address, CancelShipment, CreateShipment, Line
from shipping.models import Shipment
from shipping.reconciliation import reconcile
from tests.integration.simulator.process import Simulator
from tests.messaging import drain, make_due, refill_bucket, say

ROOMS = ["outbox", "orders", "inventory", "payments", "shipping", "notifications", "analytics", "sagas"]
pytestmark = pytest.mark.django_db(transaction=True, available_apps=ROOMS)

STEP = "create-shipment"
ADDRESS = Address(name="Ada", line1="1 Main St", city="Berlin", postal_code="10115", country="DE")


@dataclass(frozen=True)
class Parcel:
    """One parcel as a saga asks for it."""

    order_id: UUID
    saga_id: UUID

    @property
    def key(self) -> str:
        return f"{self.order_id}-{self.saga_id}-{STEP}"

    @property
    def order(self) -> str:
        return str(self.order_id)


@pytest.fixture(autouse=True)
def _at_once(carrier: Simulator, settings: Settings) -> None:
    """What nothing explains counts at once, and what other tests left at the carrier was told of."""
    refill_bucket(1_000)
    settings.RECONCILIATION_TOLERANCE_SECONDS = 0
    sweep()


def sweep() -> Report:
    """Sweep, and let what follows reach the desk."""
    report = reconcile()
    assert report is not None
    drain()
    return report


def findings(report: Report) -> list[tuple[str, str]]:
    return [(found.finding, found.key) for found in report.findings]


def cases(order: str) -> list[tuple[str, str]]:
    return list(Case.objects.filter(key=order).order_by("pk").values_list("fingerprint", "status"))


def ask(order_id: UUID | None = None) -> Parcel:
    parcel = Parcel(order_id or uuid7(), uuid7())
    command = CreateShipment(order_id=parcel.order_id, lines=(Line(sku="MUG", quantity=2),), address=ADDRESS)
    say(command, key=parcel.order_id, saga_id=parcel.saga_id, step=STEP)
    return parcel


def shipped() -> Parcel:
    parcel = ask()
    drain()
    return parcel


def undo(parcel: Parcel) -> None:
    command = CancelShipment(order_id=parcel.order_id)
    say(command, key=parcel.order_id, saga_id=parcel.saga_id, step=STEP, direction=COMPENSATION)
    Shipment.objects.filter(status="unknown").update(updated_at=F("updated_at") - timedelta(hours=1))
    make_due()
    drain()


def foreign(carrier: Simulator, key: str, order: str) -> None:
    address = {"name": "Ada", "line1": "1 St", "city": "Köln", "postal_code": "1", "country": "DE"}
    body = {"order_id": order, "address": address, "items": [{"sku": "MUG", "quantity": 2}]}
    carrier.http.post("/carrier/shipments", json=body, headers={"Idempotency-Key": key}).raise_for_status()


def late_parcel(carrier: Simulator) -> Parcel:
    """Let a parcel reach the carrier after its order has turned back."""
    carrier.control("carrier", hold=True)
    parcel = ask()
    drain()
    undo(parcel)
    carrier.control("carrier", hold=False)
    limit = time.monotonic() + 10
    while not carrier.kinds("carrier", parcel.order):
        assert time.monotonic() < limit
        time.sleep(0.02)
    return parcel


def test_what_both_sides_know_is_no_finding(carrier: Simulator) -> None:
    sent = shipped()
    undo(stopped := shipped())

    report = sweep()

    assert (findings(report), report.repaired, report.watched) == ([], 0, 0)
    assert carrier.kinds("carrier", sent.order) == ["shipment"]
    assert carrier.kinds("carrier", stopped.order) == ["shipment", "cancellation"]


@pytest.mark.parametrize("is_recorded", [True, False])
def test_a_late_parcel_is_stopped_once(carrier: Simulator, is_recorded: bool) -> None:
    parcel = late_parcel(carrier)
    if not is_recorded:
        Shipment.objects.all().delete()

    first, second = sweep(), sweep()

    assert (first.repaired, second.repaired) == (1, 0)
    assert findings(first) == findings(second) == []
    assert carrier.kinds("carrier", parcel.order) == ["shipment", "cancellation"]
    told = Message.objects.filter(ordering_key=parcel.order_id, type="shipment.cancelled")
    assert told.count() == 2
    assert cases(parcel.order) == []


@pytest.mark.usefixtures("long_rests")
def test_a_parcel_whose_command_is_on_its_way_is_left_alone(carrier: Simulator) -> None:
    carrier.control("carrier", timeout_created_ratio=1)
    parcel = ask()
    drain()

    during = sweep()
    make_due()
    drain()
    after = sweep()

    assert (findings(during), during.repaired, during.watched) == ([], 0, 1)
    assert (findings(after), after.watched) == ([], 0)
    assert Shipment.objects.get().status == "created"
    assert carrier.kinds("carrier", parcel.order) == ["shipment"]


def test_a_parcel_that_nothing_explains_is_one_case_and_never_stopped(carrier: Simulator) -> None:
    order = str(uuid7())
    foreign(carrier, f"{order}-a", order)

    report, again = sweep(), sweep()

    assert findings(report) == [("parcel_unexplained", f"{order}-a")]
    assert findings(again) == []
    assert cases(order) == [("parcel_unexplained", "OPEN")]
    assert carrier.kinds("carrier", order) == ["shipment"]


def test_a_second_parcel_for_one_order_is_a_case(carrier: Simulator) -> None:
    parcel = shipped()
    second = ask(parcel.order_id)
    foreign(carrier, second.key, parcel.order)
    # Its command has gone without a trace, as after a restore of the database.
    Delivery.objects.filter(ordering_key=parcel.order_id).delete()

    report = sweep()

    assert findings(report) == [("second_parcel", second.key)]
    assert cases(parcel.order) == [("second_parcel", "OPEN")]


def test_a_parcel_that_the_carrier_lacks_or_stopped_is_a_case(carrier: Simulator) -> None:
    order = uuid7()
    Shipment.objects.create(
        key=f"lost-{order}", order_id=order, status="created", carrier="simulated", tracking="T1", address={}
    )
    stopped = shipped()
    carrier.http.post(f"/carrier/shipments/{stopped.key}/cancel").raise_for_status()

    report = sweep()

    assert sorted(findings(report)) == sorted([("parcel_missing", f"lost-{order}"), ("parcel_stopped", stopped.key)])
    assert cases(str(order)) == [("parcel_missing", "OPEN")]
    assert cases(stopped.order) == [("parcel_stopped", "OPEN")]


def test_a_carrier_without_a_ledger_is_not_compared(settings: Settings) -> None:
    settings.CARRIER = "instant"

    assert reconcile() is None
