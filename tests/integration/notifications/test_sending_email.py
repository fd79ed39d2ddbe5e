"""One e-mail per outcome, always with the same Message-ID, and a record that it went out."""

import smtplib
from collections.abc import Collection

import pytest
from django.core import mail
from django.core.mail import EmailMessage
from django.db import transaction
from pytest_django import Settings
from uuid_utils.compat import uuid7

from notifications.handlers import CONSUMER, record_emails, send_email
from notifications.models import Email
from orders.contracts import OrderCancelled, OrderConfirmed, OrderReturned
from outbox.consumers import TransientError
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


def test_an_email_is_sent_and_recorded() -> None:
    message = envelope(confirmed())

    outcomes = record_emails([(message, send_email(message))])

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


def test_a_customer_without_an_address_gets_none() -> None:
    message = envelope(confirmed(customer_id=8))

    outcomes = record_emails([(message, send_email(message))])

    assert outcomes == [None]
    assert mail.outbox == []
    assert not Email.objects.exists()


def test_a_second_copy_carries_the_same_message_id_and_is_recorded_once() -> None:
    message = envelope(confirmed())

    for _ in range(2):
        record_emails([(message, send_email(message))])

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
    def fail(_email: EmailMessage) -> int:
        raise failure

    monkeypatch.setattr(EmailMessage, "send", fail)

    with pytest.raises(TransientError, match=type(failure).__name__) as raised:
        send_email(envelope(confirmed()))

    assert "customer7" not in str(raised.value)
    assert not Email.objects.exists()


def test_no_email_is_sent_while_a_transaction_is_open() -> None:
    with pytest.raises(InsideTransaction), transaction.atomic():
        send_email(envelope(confirmed()))

    assert mail.outbox == []


def test_notifications_hears_of_every_end_of_an_order() -> None:
    assert set(CONSUMER.handlers) == {OrderConfirmed, OrderCancelled, OrderReturned}
