"""The bank's ledger and our payments are compared both ways; late charges go back, the rest goes to a person."""

from uuid import UUID

import pytest
from django.db import transaction
from pytest_django import Settings
from uuid_utils.compat import uuid7

from outbox.models import Delivery, Message
from outbox.reconciliation import Report
from outbox.transactions import InsideTransaction
from payments import services
from payments.models import LedgerMark, Mismatch, Payment, Refund
from payments.reconciliation import reconcile
from sagas.models import Case
from sagas.services import close_message_case
from tests.factories.charges import Charge, ask, charged, foreign_charge, release, undo, undone_before_it_arrived
from tests.integration.simulator.process import Simulator
from tests.messaging import drain, make_due, refill_bucket

ROOMS = ["outbox", "orders", "inventory", "payments", "shipping", "notifications", "analytics", "sagas"]
pytestmark = pytest.mark.django_db(transaction=True, available_apps=ROOMS)


@pytest.fixture(autouse=True)
def _at_once(bank: Simulator, settings: Settings) -> None:
    """What nothing explains counts at once, and what other tests left at the bank has been read."""
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


def refunds_told(charge: Charge) -> list[int]:
    said = Message.objects.filter(ordering_key=charge.order_id, type="payment.refunded").order_by("sequence")
    return [message.payload["amount"] for message in said]


def test_what_both_sides_know_is_no_finding(bank: Simulator) -> None:
    kept = charged()
    undo(given_back := charged())

    report = sweep()

    assert findings(report) == []
    assert (report.repaired, report.watched) == (0, 0)
    assert bank.kinds("bank", kept.order) == ["charge"]
    assert bank.kinds("bank", given_back.order) == ["charge", "refund"]


def test_a_late_charge_is_given_back_once_under_the_key_of_its_compensation(bank: Simulator) -> None:
    charge = undone_before_it_arrived(bank)
    before = list(Payment.objects.values_list("status", flat=True))
    release(bank, charge)

    first, second = sweep(), sweep()

    assert before == ["void"]
    assert (first.repaired, second.repaired) == (1, 0)
    assert bank.kinds("bank", charge.order) == ["charge", "refund"]
    assert Payment.objects.get().status == "refunded"
    assert list(Refund.objects.values_list("key", "payment_id", "amount")) == [(charge.refund_key, charge.key, 1234)]
    assert refunds_told(charge) == [0, 1234]
    assert cases(charge.order) == []


def test_a_late_charge_that_left_no_row_is_given_back(bank: Simulator) -> None:
    """The process that called the bank was killed before it could note anything."""
    charge = undone_before_it_arrived(bank)
    Payment.objects.all().delete()
    release(bank, charge)

    report = sweep()

    assert report.repaired == 1
    assert bank.kinds("bank", charge.order) == ["charge", "refund"]
    assert Payment.objects.get().status == "refunded"


def test_a_refund_of_a_late_charge_whose_record_was_lost_is_recorded(
    bank: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    charge = undone_before_it_arrived(bank)
    release(bank, charge)
    with monkeypatch.context() as patch:
        patch.setattr(services, "record_refunds", _killed)
        with pytest.raises(KeyboardInterrupt):
            reconcile()

    report = sweep()

    assert report.repaired == 1
    assert findings(report) == []
    assert bank.kinds("bank", charge.order) == ["charge", "refund"]
    assert Refund.objects.get().key == charge.refund_key


def _killed(**_: object) -> int:
    raise KeyboardInterrupt


def test_a_late_charge_that_the_bank_will_not_give_back_is_for_a_person(bank: Simulator, settings: Settings) -> None:
    settings.RECONCILIATION_TOLERANCE_SECONDS = 60
    charge = undone_before_it_arrived(bank, method="pm_sim_refund_refused")
    release(bank, charge)
    early = sweep()
    settings.RECONCILIATION_TOLERANCE_SECONDS = 0

    late = sweep()

    assert (findings(early), early.watched) == ([], 1)
    assert findings(late) == [("late_charge_refused", charge.key)]
    assert cases(charge.order) == [("late_charge_refused", "OPEN")]
    assert bank.kinds("bank", charge.order) == ["charge"]


@pytest.mark.usefixtures("long_rests")
def test_a_charge_whose_command_is_on_its_way_is_left_alone(bank: Simulator) -> None:
    charge = ask(method="pm_sim_timeout_charged")
    drain()

    during = sweep()
    make_due()
    drain()
    after = sweep()

    assert (findings(during), during.repaired, during.watched) == ([], 0, 1)
    assert (findings(after), after.repaired, after.watched) == ([], 0, 0)
    assert Payment.objects.get().status == "charged"
    assert bank.kinds("bank", charge.order) == ["charge"]


def test_a_charge_that_nothing_explains_is_watched_and_then_one_case_and_never_given_back(
    bank: Simulator, settings: Settings
) -> None:
    settings.RECONCILIATION_TOLERANCE_SECONDS = 60
    order = str(uuid7())
    foreign_charge(bank, order=order, key=f"{order}-a")
    foreign_charge(bank, order=order, key=f"{order}-b")
    early = sweep()
    settings.RECONCILIATION_TOLERANCE_SECONDS = 0

    late, again = sweep(), sweep()

    assert (findings(early), early.watched) == ([], 2)
    assert sorted(findings(late)) == [("charge_unexplained", f"{order}-{x}") for x in "ab"]
    assert findings(again) == []
    assert cases(order) == [("charge_unexplained", "OPEN")]
    assert bank.kinds("bank", order) == ["charge", "charge"]


def test_a_charge_in_the_name_of_a_step_that_was_never_asked_for_is_no_late_charge(bank: Simulator) -> None:
    order, saga = uuid7(), uuid7()
    foreign_charge(bank, order=str(order), key=f"{order}-{saga}-charge-payment")

    report = sweep()

    assert [finding for finding, _ in findings(report)] == ["charge_unexplained"]
    assert bank.kinds("bank", str(order)) == ["charge"]


def test_a_second_charge_of_one_order_is_for_a_person(bank: Simulator) -> None:
    charge = charged()
    second = ask(order_id=charge.order_id)
    foreign_charge(bank, order=charge.order, key=second.key)
    # Its command has gone without a trace, as after a restore of the database.
    Delivery.objects.filter(ordering_key=charge.order_id).delete()

    report = sweep()

    assert findings(report) == [("second_charge", second.key)]
    assert cases(charge.order) == [("second_charge", "OPEN")]
    assert bank.kinds("bank", charge.order) == ["charge", "charge"]


def test_an_amount_that_differs_is_for_a_person(bank: Simulator) -> None:
    recorded, asked = charged(), ask()
    Payment.objects.filter(key=recorded.key).update(amount=1235)
    foreign_charge(bank, order=asked.order, key=asked.key, amount=999)

    report = sweep()

    assert sorted(findings(report)) == sorted([("charge_differs", recorded.key), ("charge_differs", asked.key)])
    assert "12.35 EUR" in Mismatch.objects.get(key=recorded.key).detail
    assert cases(recorded.order) == [("charge_differs", "OPEN")]


def test_what_we_recorded_and_the_bank_lacks_is_for_a_person(bank: Simulator) -> None:
    order, other = uuid7(), uuid7()
    returned = charged()
    _paid("lost-1", order, gateway="simulated")
    _paid("elsewhere", other, gateway="another")
    Refund.objects.create(
        key="lost-2", payment_id=returned.key, order_id=returned.order_id, amount=1234, currency="EUR", reference="r"
    )

    report = sweep()

    assert sorted(findings(report)) == [("charge_missing", "lost-1"), ("refund_missing", "lost-2")]
    assert cases(str(order)) == [("charge_missing", "OPEN")]


def _paid(key: str, order_id: UUID, *, gateway: str) -> None:
    Payment.objects.create(
        key=key, order_id=order_id, amount=1234, currency="EUR", status="charged", gateway=gateway, reference="ch_1"
    )


def test_a_refund_that_nobody_asked_for_is_for_a_person(bank: Simulator) -> None:
    charge = charged()
    bank.refund(f"hand-{charge.order}", charge_key=charge.key, order_id=charge.order)

    report = sweep()

    assert findings(report) == [("refund_unexplained", f"hand-{charge.order}")]
    assert cases(charge.order) == [("refund_unexplained", "OPEN")]


def test_only_what_is_new_is_read(bank: Simulator) -> None:
    charged()
    sweep()
    LedgerMark.objects.update(entries_at="2100-01-01T00:00:00Z", rows_at="2100-01-01T00:00:00Z")

    report = sweep()

    assert report.entries == 0


def test_a_case_of_a_mismatch_can_be_closed_on_the_desk_and_does_not_come_back(bank: Simulator) -> None:
    charge = charged()
    bank.refund(f"hand-{charge.order}", charge_key=charge.key, order_id=charge.order)
    sweep()
    case = Case.objects.get(key=charge.order_id)

    result = close_message_case(
        case_id=case.pk, operator="grace", action="resolve", reason="agreed with the bank", reference="B-7"
    )
    again = sweep()

    assert result == "done"
    assert findings(again) == []
    assert cases(charge.order) == [("refund_unexplained", "CLOSED")]


def test_the_ledger_is_not_read_while_a_transaction_is_open(bank: Simulator) -> None:
    with pytest.raises(InsideTransaction), transaction.atomic():
        reconcile()


def test_a_gateway_without_a_ledger_is_not_compared(settings: Settings) -> None:
    settings.PAYMENT_GATEWAY = "instant"

    assert reconcile() is None
