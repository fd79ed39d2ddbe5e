"""An order is charged once, whatever happens to the bank's answer on its way."""

import pytest
from django.db import IntegrityError, transaction
from uuid_utils.compat import uuid7

from outbox.consumers import TransientError
from outbox.contracts import Envelope
from outbox.outside import NothingDone
from outbox.transactions import InsideTransaction
from payments.contracts import ChargePayment, PaymentCharged, PaymentFailed
from payments.gateways.protocol import ChargeAnswer, ChargeDeclined, ChargeMade
from payments.handlers import CONSUMER, charge_payment, give_up_charge, record_charges
from payments.models import Payment
from tests.factories.envelopes import envelope
from tests.integration.simulator.process import Simulator

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["payments"])


def charge(payment_method: str = "pm_card_visa", *, attempt: int = 1) -> Envelope[ChargePayment]:
    command = ChargePayment(order_id=uuid7(), amount=1234, currency="EUR", payment_method=payment_method)
    return envelope(command, step="charge-payment", attempt=attempt)


def again(message: Envelope[ChargePayment]) -> Envelope[ChargePayment]:
    return envelope(message.data, saga_id=message.correlation_id, step="charge-payment", attempt=message.attempt + 1)


def made(message: Envelope[ChargePayment], reference: str = "ch_1") -> ChargeMade:
    return ChargeMade(gateway="simulated", key=message.step_key, amount=1234, currency="EUR", reference=reference)


def rows() -> list[tuple[object, ...]]:
    return list(Payment.objects.values_list("key", "order_id", "amount", "currency", "status", "code"))


def test_a_charge_is_made_and_recorded(bank: Simulator) -> None:
    message = charge()

    answer = charge_payment(message)
    [outcome] = record_charges([(message, answer)])

    order_id = message.data.order_id
    payment = Payment.objects.get()
    assert outcome == PaymentCharged(order_id=order_id, amount=1234, currency="EUR", reference=payment.reference)
    assert payment.reference.startswith("ch_")
    assert rows() == [(message.step_key, order_id, 1234, "EUR", "charged", "")]
    assert bank.kinds("bank", str(order_id)) == ["charge"]


def test_a_declined_charge_fails_and_is_recorded(bank: Simulator) -> None:
    message = charge("pm_card_visa_chargeDeclined")

    answer = charge_payment(message)
    [outcome] = record_charges([(message, answer)])

    order_id = message.data.order_id
    assert outcome == PaymentFailed(
        order_id=order_id, reason="payment_declined", detail="card_declined: the card was declined"
    )
    assert rows() == [(message.step_key, order_id, 1234, "EUR", "declined", "card_declined")]
    assert bank.kinds("bank", str(order_id)) == []


def test_a_charge_whose_answer_was_late_is_found_by_its_key(bank: Simulator) -> None:
    message = charge("pm_sim_timeout_charged")
    with pytest.raises(TransientError):
        charge_payment(message)
    noted = rows()

    retry = again(message)
    [outcome] = record_charges([(retry, charge_payment(retry))])

    order_id = message.data.order_id
    assert noted == [(message.step_key, order_id, 1234, "EUR", "unknown", "")]
    assert isinstance(outcome, PaymentCharged)
    assert rows() == [(message.step_key, order_id, 1234, "EUR", "charged", "")]
    assert bank.kinds("bank", str(order_id)) == ["charge"]


def test_a_charge_that_was_never_made_is_made_by_the_retry(bank: Simulator) -> None:
    message = charge("pm_sim_timeout_not_charged")
    with pytest.raises(TransientError):
        charge_payment(message)

    answer = charge_payment(again(message))

    assert isinstance(answer, ChargeMade)
    assert bank.kinds("bank", str(message.data.order_id)) == ["charge"]


def test_a_decline_whose_answer_was_lost_is_found_by_its_key(bank: Simulator) -> None:
    message = charge("pm_card_visa_chargeDeclined")
    charge_payment(message)

    answer = charge_payment(again(message))

    assert isinstance(answer, ChargeDeclined)
    assert answer.code == "card_declined"


@pytest.mark.parametrize("method", ["pm_card_visa", "pm_sim_unavailable"])
def test_a_bank_that_is_away_is_transient_and_known_to_have_done_nothing(bank: Simulator, method: str) -> None:
    bank.control("bank", down=method == "pm_card_visa")
    message = charge(method)

    with pytest.raises(NothingDone, match="the bank answered 503"):
        charge_payment(message)

    assert rows() == []


def test_giving_up_leaves_open_whether_money_was_taken() -> None:
    message = charge()

    outcome = give_up_charge(message, "no answer from the bank within 2 s")

    assert outcome == PaymentFailed(
        order_id=message.data.order_id,
        reason="payment_unavailable",
        detail="no answer from the bank within 2 s",
        definite=False,
    )


def test_answers_recorded_twice_are_recorded_once() -> None:
    first, second = charge(), charge("pm_card_visa_chargeDeclined")
    declined = ChargeDeclined(gateway="simulated", key=second.step_key, code="card_declined")
    answers: list[tuple[Envelope[ChargePayment], ChargeAnswer]] = [
        (first, made(first)),
        (second, declined),
    ]

    outcomes = record_charges(answers)
    before = list(Payment.objects.order_by("key").values_list())
    repeated = record_charges([*answers, *answers])

    assert repeated == outcomes * 2
    assert list(Payment.objects.order_by("key").values_list()) == before


def test_a_late_answer_does_not_undo_a_refund() -> None:
    message = charge()
    record_charges([(message, made(message))])
    Payment.objects.update(status="refunded")

    record_charges([(message, made(message))])

    assert Payment.objects.get().status == "refunded"


def test_a_second_charge_of_one_order_is_refused_by_the_database() -> None:
    message = charge()
    other = envelope(message.data, step="charge-payment")
    record_charges([(message, made(message))])

    with pytest.raises(IntegrityError, match="payments_payment_one_charge_per_order"):
        record_charges([(other, made(other))])


def test_the_bank_is_not_called_while_a_transaction_is_open(bank: Simulator) -> None:
    message = charge()

    with pytest.raises(InsideTransaction), transaction.atomic():
        charge_payment(message)

    assert bank.kinds("bank", str(message.data.order_id)) == []


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ({"amount": 0}, "payments_payment_amount_positive"),
        ({"currency": "euro"[:3]}, "payments_payment_currency_code"),
        ({"reference": ""}, "payments_payment_charge_has_reference"),
    ],
)
def test_the_database_refuses_what_cannot_be(changes: dict[str, object], constraint: str) -> None:
    message = charge()
    record_charges([(message, made(message))])

    with pytest.raises(IntegrityError, match=constraint):
        Payment.objects.update(**changes)


def test_a_charge_is_tried_four_times_within_seconds() -> None:
    policy = CONSUMER.handlers[ChargePayment].policy

    assert (policy.attempts, policy.base.total_seconds(), policy.cap.total_seconds()) == (4, 0.5, 5)
