"""`manage.py reconcile`: one sweep of each ledger now, and an exit code for scripts."""

import pytest
from pytest_django import Settings
from uuid_utils.compat import uuid7

from outbox.commands import operator_name, origin_name
from payments.models import Payment
from sagas.models import OperatorAction
from tests.command_line import run
from tests.integration.payments.conftest import bank, process
from tests.integration.simulator.process import Simulator

__all__ = ["bank", "process"]

ROOMS = ["outbox", "orders", "inventory", "payments", "shipping", "notifications", "analytics", "sagas", "config"]
pytestmark = pytest.mark.django_db(transaction=True, available_apps=ROOMS)


@pytest.fixture(autouse=True)
def _carrier_without_a_ledger(settings: Settings) -> None:
    settings.CARRIER = "instant"


def test_nothing_found_is_exit_code_0(bank: Simulator) -> None:
    ended = run("reconcile")

    assert (ended.code, ended.err) == (0, "")
    assert "payments:simulated" in ended.out


def test_a_finding_is_exit_code_1_and_told_once(bank: Simulator) -> None:
    order = uuid7()
    Payment.objects.create(
        key=f"{order}-lost",
        order_id=order,
        amount=1234,
        currency="EUR",
        status="charged",
        gateway="simulated",
        reference="ch_1",
    )

    first, second = run("reconcile", "--json"), run("reconcile", "--json")

    [report] = first.json
    assert (first.code, second.code) == (1, 0)
    assert first.err.endswith("reconcile: 1 findings\n")
    assert [(found["finding"], found["order_id"]) for found in report["findings"]] == [("charge_missing", str(order))]
    assert "12.34 EUR" in report["findings"][0]["detail"]


def test_a_bank_that_does_not_answer_is_exit_code_2(bank: Simulator, settings: Settings) -> None:
    settings.BANK_URL = "http://127.0.0.1:9/bank"

    ended = run("reconcile")

    assert ended.code == 2
    assert "the bank cannot be reached" in ended.err


def test_who_compared_by_hand_is_in_the_operator_log(bank: Simulator, settings: Settings) -> None:
    run("reconcile")
    settings.BANK_URL = "http://127.0.0.1:9/bank"
    run("reconcile")

    lines = OperatorAction.objects.order_by("id")
    assert [(line.operator, line.origin, line.action, line.result) for line in lines] == [
        (operator_name(), origin_name(), "reconcile", "done"),
        (operator_name(), origin_name(), "reconcile", "failed"),
    ]
    assert lines[0].seen["repaired"] == {"payments:simulated": 0}
