"""A message is edited and sent again: never so that money moves twice, and never without a trace."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import transaction
from django.db.models.functions import Now

from outbox.models import BarrierEntry, Delivery, Message
from outbox.publishing import Outgoing, publish
from outbox.replacing import REPLACES
from payments.contracts import PaymentFailed
from payments.models import Payment
from sagas import editing, services
from sagas.editing import Misfit, NotEditable
from sagas.models import Case, OperatorAction
from sagas.pursuit import outcome_of
from tests.factories.cases import refused_refund
from tests.integration.desk.late_charge import (
    begin,
    command_of,
    declined,
    edited,
    go_on,
    key_of,
    saga_of,
    stuck,
)
from tests.integration.desk.visits import state
from tests.integration.simulator.process import Simulator

pytestmark = pytest.mark.django_db(transaction=True)

WHY: dict[str, Any] = {"operator": "olga", "reason": "the method was left out"}
METHOD = "pm_card_visa"


def entries(bank: Simulator, case: Case) -> list[tuple[str, str, int]]:
    """Return what the bank's ledger says of the order: kind, key, amount."""
    rows = bank.http.get("/bank/ledger", params={"order_id": str(case.key)}).json()
    return [(row["kind"], row["key"], row["amount"]) for row in rows]


def charge_at_bank(bank: Simulator, case: Case, *, method: str = METHOD) -> None:
    """Let the bank have heard of the charge, though we never had its answer."""
    bank.charge(key_of(case), method=method, order_id=str(case.key), amount=1250)


def refuse(case: Case, why: str, error: type[Exception] = NotEditable, **changes: Any) -> None:
    """Check that an edit is refused for a reason and changes nothing."""
    before = state()
    with pytest.raises(error, match=why):
        services.edit(case_id=case.pk, payload=edited(case, **(changes or {"payment_method": METHOD})), **WHY)
    assert state() == before


# --- money moves once ---


def test_an_edited_charge_is_made_once_and_under_the_old_key(bank: Simulator) -> None:
    case = stuck()
    original = command_of(case)

    result = services.edit(case_id=case.pk, payload=edited(case, payment_method=METHOD), **WHY)
    go_on()

    assert result == "requested"
    assert entries(bank, case) == [("charge", key_of(case), 1250)]
    assert list(Payment.objects.values_list("key", "status")) == [(key_of(case), "charged")]
    saga = saga_of(case)
    assert (saga.status, saga.steps["charge-payment"]["status"]) == ("COMPLETED", "SUCCEEDED")
    assert "generation" not in saga.steps["charge-payment"]
    [copy] = Message.objects.filter(ordering_key=case.key, type="payment.charge").exclude(pk=original.pk)
    assert (copy.payload, original.payload["payment_method"]) == (edited(case, payment_method=METHOD), "")
    assert (copy.causation_id, copy.headers[REPLACES]) == (original.pk, str(original.pk))
    assert (copy.headers["step"], copy.correlation_id) == ("charge-payment", case.saga_id)


def test_the_log_keeps_the_difference_and_not_the_card(bank: Simulator) -> None:
    case = stuck()

    services.edit(case_id=case.pk, payload=edited(case, payment_method=METHOD), **WHY)

    case.refresh_from_db()
    assert (case.status, case.resolution, case.reason) == ("CLOSED", "retried", WHY["reason"])
    [entry] = OperatorAction.objects.all()
    assert (entry.action, entry.result, entry.case_id) == ("edit", "requested", case.pk)
    assert entry.seen["difference"] == {"payment_method": ["", "•••"]}
    assert entry.seen["edited"] == str(case.message_id)
    assert entry.seen["outside"] == [
        {"gateway": "bank", "key": key_of(case), "answer": "no charge is known under this key"}
    ]
    assert METHOD not in json.dumps(entry.seen)
    go_on()
    assert outcome_of([entry])[entry.pk].status == "done"


def test_what_the_bank_has_charged_is_not_edited_and_a_retry_finds_it(bank: Simulator) -> None:
    case = stuck()
    charge_at_bank(bank, case)

    refuse(case, r"the bank has acted on it already \(12.50 EUR was charged under this key: ch_")

    services.retry(saga_id=case.saga_id or case.key, operator="olga")
    go_on()
    assert entries(bank, case) == [("charge", key_of(case), 1250)]
    assert saga_of(case).steps["charge-payment"]["status"] == "SUCCEEDED"


def test_what_the_bank_has_declined_under_this_key_is_not_edited(bank: Simulator) -> None:
    case = stuck()
    charge_at_bank(bank, case, method="pm_card_visa_chargeDeclined")

    refuse(case, "the bank has answered this key already .*card_declined.* refuses another body under it")


def test_while_the_bank_is_away_nothing_is_edited(bank: Simulator) -> None:
    case = stuck()
    bank.control("bank", down=True)

    refuse(case, "whether the bank has acted on it already cannot be told now")


def test_while_a_call_may_still_arrive_nothing_is_edited(bank: Simulator) -> None:
    case = stuck()
    Delivery.objects.filter(ordering_key=case.key, dead_at__isnull=False).update(dead_at=Now())

    refuse(case, r"its last call may still arrive at the bank: edit it in \d s")


def test_a_first_call_that_arrives_after_all_and_the_edited_one_charge_once(bank: Simulator) -> None:
    """The bank hears of the old body after it was asked and before the edited one comes: both have one key."""
    case = stuck()
    services.edit(case_id=case.pk, payload=edited(case, payment_method=METHOD), **WHY)

    charge_at_bank(bank, case, method="pm_sim_refund_refused")
    go_on()

    assert entries(bank, case) == [("charge", key_of(case), 1250)]
    assert saga_of(case).steps["charge-payment"]["status"] == "SUCCEEDED"


def test_a_charge_that_was_declined_for_good_is_edited_under_a_key_of_its_own(bank: Simulator) -> None:
    case = declined()

    services.edit(case_id=case.pk, payload=edited(case, payment_method=METHOD), **WHY)
    go_on()

    assert entries(bank, case) == [("charge", key_of(case, "charge-payment~2"), 1250)]
    copy = Message.objects.filter(ordering_key=case.key, type="payment.charge").latest()
    assert (copy.causation_id, copy.payload["payment_method"]) == (case.message_id, METHOD)
    assert saga_of(case).status == "COMPLETED"


def test_a_retry_after_an_edit_keeps_what_was_edited(bank: Simulator) -> None:
    case = declined()
    services.edit(case_id=case.pk, payload=edited(case, payment_method="pm_unknown_at_the_bank"), **WHY)
    go_on()

    services.retry(saga_id=case.saga_id or case.key, operator="olga")

    last = Message.objects.filter(ordering_key=case.key, type="payment.charge").latest()
    assert (last.headers["step"], last.payload["payment_method"]) == ("charge-payment~3", "pm_unknown_at_the_bank")


def given_up() -> Case:
    """Let the attempts of a charge be given up without an answer."""
    saga = begin(method=METHOD)
    command = Message.objects.get(ordering_key=saga.key, type="payment.charge")
    Delivery.objects.filter(message_id=command.pk).delete()
    BarrierEntry.objects.create(
        saga_id=saga.pk, step="charge-payment", direction="action", message_id=command.pk, settled=True
    )
    failed = PaymentFailed(order_id=saga.key, reason="payment_unavailable", definite=False)
    with transaction.atomic():
        publish(
            [
                Outgoing(
                    data=failed,
                    source="payments",
                    subject=saga.key,
                    correlation_id=saga.pk,
                    causation_id=command.pk,
                    step="charge-payment",
                    direction="action",
                )
            ]
        )
    go_on()
    return Case.objects.get(saga=saga)


def test_what_was_given_up_in_doubt_is_retried_under_its_old_key(bank: Simulator) -> None:
    case = given_up()
    charge_at_bank(bank, case)

    assert services.retry(saga_id=case.saga_id or case.key, operator="olga") == "requested"
    go_on()

    assert entries(bank, case) == [("charge", key_of(case), 1250)]
    saga = saga_of(case)
    assert (saga.status, "generation" in saga.steps["charge-payment"]) == ("COMPLETED", False)


def test_what_was_given_up_in_doubt_is_not_edited(bank: Simulator) -> None:
    case = given_up()

    refuse(case, "under which it might be done a second time: retry it as it is", payment_method="pm_other")


# --- what may be changed ---


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"amount": 1}, "amount cannot be changed: how much money moves was agreed with the customer"),
        ({"currency": "USD"}, "currency cannot be changed: how much money moves was agreed"),
        (
            {"order_id": "00000000-0000-0000-0000-000000000001"},
            "order_id cannot be changed: it says what this is about",
        ),
        ({"payment_method": 7}, "it does not fit payment.charge: Expected `str`, got `int`"),
        ({"payment_methd": METHOD}, "payment.charge has no field payment_methd"),
        ({"payment_method": ""}, "nothing was changed: to send it as it is, retry it"),
        ({"payment_method": "pm_•••"}, "stands for what you may not see"),
    ],
)
def test_a_payload_that_does_not_do_is_refused(bank: Simulator, changes: dict[str, Any], why: str) -> None:
    refuse(stuck(), why, Misfit, **changes)


def test_a_fixed_field_cannot_be_left_out_either(bank: Simulator) -> None:
    case = stuck()
    before = state()
    payload = {name: value for name, value in edited(case, payment_method=METHOD).items() if name != "amount"}

    with pytest.raises(Misfit, match="amount cannot be changed"):
        services.edit(case_id=case.pk, payload=payload, **WHY)

    assert state() == before


def test_a_refund_has_nothing_that_may_be_edited() -> None:
    message = command_of(refused_refund())

    assert editing.free_fields(message) == []
