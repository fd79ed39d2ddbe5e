"""The desk shows which e-mails went out, found by order or event."""

import pytest
from django.test import Client
from django.urls import reverse
from uuid_utils.compat import uuid7

from notifications.models import Email

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("field", ["order_id", "message_id"])
def test_emails_are_found_by_order_and_event(admin_client: Client, field: str) -> None:
    email = Email.objects.create(message_id=uuid7(), order_id=uuid7(), event="order.confirmed")
    url = reverse("admin:notifications_email_changelist")

    found = admin_client.get(url, {"q": str(getattr(email, field))}).content.decode()
    other = admin_client.get(url, {"q": str(uuid7())}).content.decode()

    assert "order.confirmed" in found
    assert "order.confirmed" not in other


def test_an_email_has_a_page(admin_client: Client) -> None:
    email = Email.objects.create(message_id=uuid7(), order_id=uuid7(), event="order.confirmed")

    page = admin_client.get(reverse("admin:notifications_email_change", args=[email.pk]))

    assert "order.confirmed" in page.content.decode()
