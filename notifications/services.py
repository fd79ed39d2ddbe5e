"""The only writer of notifications: send an e-mail outside any transaction, then record that it went out.

Mail is at least once: when the process dies after the mail server took the e-mail and before that is
recorded, it is sent again. Both copies carry the same Message-ID, made from the event's id, by which mail
programs show only one.
"""

from __future__ import annotations

import smtplib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from email.utils import parseaddr
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.db import connection
from django.utils.module_loading import import_string

from notifications import sql
from notifications.letters import Letter
from outbox import crash_points
from outbox.consumers import TransientError
from outbox.metrics import GATEWAY_REQUESTS, GATEWAY_SECONDS
from outbox.transactions import assert_no_transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """One letter to one customer; `message_id` is the event it tells of."""

    message_id: UUID
    customer_id: int
    letter: Letter


def send_emails(*, dispatches: Sequence[Dispatch]) -> list[bool | TransientError]:
    """Send letters over one connection to the mail server.

    Returns for each whether there was an address to write to, or the `TransientError` that kept it from
    going out.
    """
    addresses = find_addresses(customer_ids={dispatch.customer_id for dispatch in dispatches})
    if not addresses:
        return [False] * len(dispatches)
    assert_no_transaction()
    server = get_connection()
    try:
        return [_send(dispatch, addresses.get(dispatch.customer_id), server) for dispatch in dispatches]
    finally:
        server.close()


def _send(dispatch: Dispatch, address: str | None, server: BaseEmailBackend) -> bool | TransientError:
    if address is None:
        return False
    _, sender = parseaddr(settings.DEFAULT_FROM_EMAIL)
    email = EmailMessage(
        subject=dispatch.letter.subject,
        body=dispatch.letter.text,
        to=[address],
        headers={"Message-ID": f"<{dispatch.message_id}@{sender.rpartition('@')[2]}>"},
        connection=server,
    )
    outcome = "unavailable"
    with GATEWAY_SECONDS.labels("mail", "send").time():
        try:
            server.open()
            crash_points.call("mail send", email.send, lost=_lost)
            outcome = "ok"
        except (smtplib.SMTPException, OSError) as error:
            # Not what the server says: that names the customer's address.
            return TransientError(f"the mail server did not take it: {type(error).__name__}")
        finally:
            GATEWAY_REQUESTS.labels("mail", "send", outcome).inc()
    return True


def _lost() -> Exception:
    return smtplib.SMTPServerDisconnected("the answer is lost")


def find_addresses(*, customer_ids: Collection[int]) -> dict[int, str]:
    """Return the e-mail addresses that `settings.NOTIFICATIONS_ADDRESS_BOOK` knows, by customer id."""
    address_book: Callable[[Collection[int]], dict[int, str]] = import_string(settings.NOTIFICATIONS_ADDRESS_BOOK)
    return address_book(customer_ids)


def record_emails(*, emails: Sequence[tuple[UUID, UUID, str]]) -> None:
    """Write down which e-mails went out: event id, order id, wire type. Safe to call twice."""
    if not emails:
        return
    with connection.cursor() as cursor:
        cursor.execute(sql.RECORD_EMAILS, [list(column) for column in zip(*emails, strict=True)])
