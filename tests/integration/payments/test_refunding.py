"""Whatever was taken for an order is given back once, even if only the bank knows of it."""

import pytest
from pytest_django import Settings
from uuid_utils.compat import uuid7

from outbox.consumers import Outcome, Wait
from outbox.contracts import ACTION, COMPENSATION, Direction, Envelope
from outbox.outside import UnforeseenAnswer
from payments.contracts import ChargePayment, PaymentRefunded, RefundPayment
from payments.gateways.protocol import ChargeDeclined, ChargeMade, RefundMade, RefundRefused
from payments.handlers import CONSUMER, charge_payment, record_charges, record_refunds, refund_payment
from payments.models import Payment, Refund
from payments.services import LedgersDisagree, NothingToRefund, Refunded
from tests.factories.envelopes import envelope
from tests.integration.simulator.process import Simulator

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["payments"])


def charge(payment_method: str = "pm_card_visa") -> Envelope[ChargePayment]:
    command = ChargePayment(order_id=uuid7(), amount=1234, currency="EUR", payment_method=payment_method)
    return envelope(command, step="charge-payment")


def charged(payment_method: str = "pm_card_visa") -> Envelope[ChargePayment]:
    message = charge(payment_method)
    record_charges([(message, charge_payment(message))])
    return message


def refund(
    message: Envelope[ChargePayment], *, direction: Direction = COMPENSATION, attempt: int = 1
) -> Envelope[RefundPayment]:
    command = RefundPayment(order_id=message.data.order_id, amount=1234, currency="EUR")
    return envelope(
        command,
        saga_id=message.correlation_id if direction == COMPENSATION else None,
        step="charge-payment" if direction == COMPENSATION else "refund-payment",
        direction=direction,
        attempt=attempt,
    )


def carry_out(message: Envelope[RefundPayment]) -> Outcome:
    [outcome] = record_refunds([(message, refund_payment(message))])
    return outcome


def nothing(message: Envelope[ChargePayment]) -> PaymentRefunded:
    return PaymentRefunded(order_id=message.data.order_id, amount=0, currency="EUR")


@pytest.mark.parametrize("direction", [COMPENSATION, ACTION])
def test_a_charge_is_given_back(bank: Simulator, direction: Direction) -> None:
    message = charged()

    outcome = carry_out(command := refund(message, direction=direction))

    order_id = message.data.order_id
    given_back = Refund.objects.get()
    assert outcome == PaymentRefunded(order_id=order_id, amount=1234, currency="EUR", reference=given_back.reference)
    assert (given_back.key, given_back.payment_id) == (command.step_key, message.step_key)
    assert Payment.objects.get().status == "refunded"
    assert bank.kinds("bank", str(order_id)) == ["charge", "refund"]


def test_a_charge_that_only_the_bank_knows_of_is_given_back_and_recorded(bank: Simulator) -> None:
    message = charge()
    charge_payment(message)

    outcome = carry_out(refund(message))

    assert isinstance(outcome, PaymentRefunded)
    assert outcome.amount == 1234
    payment = Payment.objects.get()
    assert (payment.key, payment.status, payment.amount) == (message.step_key, "refunded", 1234)
    assert bank.kinds("bank", str(message.data.order_id)) == ["charge", "refund"]


def test_a_charge_that_was_never_asked_for_needs_no_refund(bank: Simulator) -> None:
    message = charge()

    outcome = carry_out(refund(message))

    assert outcome == nothing(message)
    assert not Payment.objects.exists()


def test_a_declined_charge_needs_no_refund(bank: Simulator) -> None:
    message = charged("pm_card_visa_chargeDeclined")

    outcome = carry_out(refund(message))

    assert outcome == nothing(message)
    assert Payment.objects.get().status == "declined"


def test_a_return_of_an_order_whose_money_is_not_kept_needs_no_refund(bank: Simulator) -> None:
    message = charged("pm_card_visa_chargeDeclined")

    outcome = carry_out(refund(message, direction=ACTION))

    assert outcome == nothing(message)


def test_a_charge_that_may_still_arrive_is_waited_for(bank: Simulator) -> None:
    message = charge("pm_sim_timeout_not_charged")
    with pytest.raises(Exception, match="no answer from the bank"):
        charge_payment(message)

    early = carry_out(refund(message))
    Payment.objects.update(updated_at="2026-01-01T00:00:00Z")
    late = carry_out(refund(message))

    assert isinstance(early, Wait)
    assert 0 < early.delay.total_seconds() <= 0.6
    assert late == nothing(message)
    assert Payment.objects.get().status == "void"


def test_a_charge_that_arrives_after_the_refund_was_asked_for_is_given_back(bank: Simulator) -> None:
    message = charge("pm_sim_timeout_charged")
    with pytest.raises(Exception, match="no answer from the bank"):
        charge_payment(message)

    outcome = carry_out(refund(message))

    assert isinstance(outcome, PaymentRefunded)
    assert outcome.amount == 1234
    assert Payment.objects.get().status == "refunded"


def test_a_refund_delivered_twice_gives_back_once(bank: Simulator) -> None:
    message = charged()

    first = carry_out(refund(message))
    second = carry_out(refund(message, attempt=2))

    assert second == first
    assert Refund.objects.count() == 1
    assert bank.kinds("bank", str(message.data.order_id)) == ["charge", "refund"]


def test_a_second_refund_of_a_returned_order_finds_nothing_to_give_back(bank: Simulator) -> None:
    message = charged()
    carry_out(refund(message, direction=ACTION))

    outcome = carry_out(refund(message, direction=ACTION))

    assert outcome == nothing(message)
    assert bank.kinds("bank", str(message.data.order_id)) == ["charge", "refund"]


def test_a_refused_refund_is_tried_again_and_changes_nothing(bank: Simulator) -> None:
    message = charged("pm_sim_refund_refused")

    with pytest.raises(RefundRefused, match=r"^refund_refused: the bank refuses to refund this charge$"):
        refund_payment(refund(message))

    assert Payment.objects.get().status == "charged"
    assert not Refund.objects.exists()


def test_a_charge_that_is_recorded_but_unknown_to_the_bank_is_for_a_person(bank: Simulator) -> None:
    message = charge()
    answer = ChargeMade(gateway="simulated", key=message.step_key, amount=1234, currency="EUR", reference="ch_1")
    record_charges([(message, answer)])

    with pytest.raises(UnforeseenAnswer, match="404 no_such_charge"):
        refund_payment(refund(message))


def test_money_goes_back_through_the_gateway_that_took_it(settings: Settings, bank: Simulator) -> None:
    settings.PAYMENT_GATEWAY = "instant"
    message = charged()
    settings.PAYMENT_GATEWAY = "simulated"

    outcome = carry_out(refund(message))

    assert isinstance(outcome, PaymentRefunded)
    assert outcome.reference.startswith("instant-")
    assert bank.kinds("bank", str(message.data.order_id)) == []


def test_a_batch_of_answers_is_recorded_together() -> None:
    messages = [charge() for _ in range(3)]
    keys = [message.step_key for message in messages]
    answers = [
        Refunded(
            charge=ChargeMade(gateway="instant", key=key, amount=1, currency="EUR", reference="ch"),
            refund=RefundMade(key=f"{key}-compensation", reference="re"),
        )
        for key in keys
    ]

    outcomes = record_refunds(
        [
            *((refund(message), answer) for message, answer in zip(messages, answers, strict=True)),
            (refund(charge()), NothingToRefund(charge_key="other")),
        ]
    )

    assert [outcome.amount for outcome in outcomes if isinstance(outcome, PaymentRefunded)] == [1, 1, 1, 0]
    assert set(Refund.objects.values_list("payment_id", flat=True)) == set(keys)


def test_money_back_for_a_declined_charge_is_an_alarm() -> None:
    message = charge()
    declined = ChargeDeclined(gateway="instant", key=message.step_key, code="card_declined")
    record_charges([(message, declined)])
    answer = Refunded(
        charge=ChargeMade(gateway="instant", key=message.step_key, amount=1, currency="EUR", reference="ch"),
        refund=RefundMade(key="re", reference="re"),
    )

    with pytest.raises(LedgersDisagree, match=message.step_key):
        record_refunds([(refund(message), answer)])

    assert not Refund.objects.exists()


def test_a_refund_that_fails_for_good_is_left_to_a_person() -> None:
    handler = CONSUMER.handlers[RefundPayment]

    assert getattr(handler, "give_up", None) is None
    assert (handler.policy.attempts, handler.policy.cap.total_seconds()) == (5, 15)
