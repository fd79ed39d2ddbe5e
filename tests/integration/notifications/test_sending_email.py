"""One e-mail per outcome, always with the same Message-ID, and a record that it went out."""

import smtplib
from collections.abc import Collection, Sequence

import pytest
from django.core import mail
from django.core.mail import EmailMessage
from django.core.mail.backends.locmem import EmailBackend
from django.db import transaction
from pytest_django import Settings
from uuid_utils.compat import uuid7

from notifications.handlers import CONSUMER, record_emails, send_emails
from notifications.models import Email
from orders.contracts import OrderCancelled, OrderConfirmed, OrderReturned
from outbox.consumers import Outcome, TransientError
from outbox.contracts import Envelope
from outbox.transactions import InsideTransaction
from tests.factories.envelopes import envelope

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["notifications"])


def address_book(customer_ids: Collection[int]) -> dict[int, str]:
    """Know customer 7 only."""
    return {number: f"customer{number}@example.org" for number in customer_ids if number == 7}


@pytest.fixture(autouse=True)
def _settings(settings: Settings) -> None:
    settings.NOTIFICATIONS_ADDRESS_BOOK = f"{__name__}.address_book"
    settings.DEFAULT_FROM_EMAIL = "The Shop <orders@shop.example>"


def confirmed(customer_id: int = 7) -> OrderConfirmed:
    return OrderConfirmed(order_id=uuid7(), customer_id=customer_id)


def deliver(*messages: Envelope[OrderConfirmed]) -> list[Outcome]:
    answers = send_emails(messages)
    return record_emails([(m, a) for m, a in zip(messages, answers, strict=True) if isinstance(a, bool)])


def test_an_email_is_sent_and_recorded() -> None:
    message = envelope(confirmed())

    outcomes = deliver(message)

    assert outcomes == [None]
    [email] = mail.outbox
    assert (email.to, email.from_email) == (["customer7@example.org"], "The Shop <orders@shop.example>")
    assert email.subject == "Your order is confirmed"
    assert email.message()["Message-ID"] == f"<{message.id}@shop.example>"
    [record] = Email.objects.all()
    assert (record.message_id, record.order_id, record.event) == (
        message.id,
        message.data.order_id,
        "order.confirmed",
    )


@pytest.mark.parametrize("customers", [[8], [8, 7], [9, 8]])
def test_a_customer_without_an_address_gets_none(customers: list[int]) -> None:
    messages = [envelope(confirmed(customer_id=number)) for number in customers]

    outcomes = deliver(*messages)

    assert outcomes == [None] * len(customers)
    assert len(mail.outbox) == Email.objects.count() == customers.count(7)


def test_a_second_copy_carries_the_same_message_id_and_is_recorded_once() -> None:
    message = envelope(confirmed())

    deliver(message)
    deliver(message)

    first, second = (email.message()["Message-ID"] for email in mail.outbox)
    assert first == second
    assert Email.objects.count() == 1


@pytest.mark.parametrize(
    "failure",
    [
        smtplib.SMTPServerDisconnected("gone"),
        smtplib.SMTPRecipientsRefused({"customer7@example.org": (550, b"unknown")}),
        ConnectionRefusedError("refused"),
        TimeoutError("slow"),
    ],
)
def test_a_mail_server_that_does_not_take_it_is_tried_again_without_naming_the_customer(
    monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def fail(_server: EmailBackend, _emails: object) -> int:
        raise failure

    monkeypatch.setattr(EmailBackend, "send_messages", fail)

    [answer] = send_emails([envelope(confirmed())])

    assert isinstance(answer, TransientError)
    assert str(answer) == f"the mail server did not take it: {type(failure).__name__}"


def test_one_refused_email_does_not_hold_up_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    send = EmailBackend.send_messages

    def refuse_first(server: EmailBackend, emails: Sequence[EmailMessage]) -> int:
        if emails[0].subject == "Your order was cancelled":
            raise smtplib.SMTPDataError(451, b"later")
        return send(server, emails)

    monkeypatch.setattr(EmailBackend, "send_messages", refuse_first)
    cancelled = OrderCancelled(order_id=uuid7(), customer_id=7, reason="out_of_stock")

    answers = send_emails([envelope(cancelled), envelope(confirmed())])

    assert isinstance(answers[0], TransientError)
    assert answers[1:] == [True]
    assert len(mail.outbox) == 1


def test_no_email_is_sent_while_a_transaction_is_open() -> None:
    with pytest.raises(InsideTransaction), transaction.atomic():
        send_emails([envelope(confirmed())])

    assert mail.outbox == []


def test_notifications_hears_of_every_end_of_an_order() -> None:
    assert set(CONSUMER.handlers) == {OrderConfirmed, OrderCancelled, OrderReturned}
