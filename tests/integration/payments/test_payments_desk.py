"""The desk shows charges and refunds, finds them by order, and lets nobody change them."""

import pytest
from django.test import Client
from django.urls import reverse
from uuid_utils.compat import uuid7

from payments.models import Mismatch, Payment, Refund, WebhookEvent

pytestmark = pytest.mark.django_db

ORDER = uuid7()


@pytest.fixture
def refund() -> Refund:
    payment = Payment.objects.create(
        key=f"{ORDER}-charge",
        order_id=ORDER,
        amount=1234,
        currency="EUR",
        status="refunded",
        gateway="simulated",
        reference="ch_1",
    )
    return Refund.objects.create(
        key=f"{ORDER}-refund", payment=payment, order_id=ORDER, amount=1234, currency="EUR", reference="re_1"
    )


@pytest.mark.parametrize("model", ["payment", "refund"])
@pytest.mark.usefixtures("refund")
def test_rows_are_found_by_order(admin_client: Client, model: str) -> None:
    url = reverse(f"admin:payments_{model}_changelist")

    found = admin_client.get(url, {"q": str(ORDER)}).content.decode()
    other = admin_client.get(url, {"q": str(uuid7())}).content.decode()

    assert "12.34 EUR" in found
    assert "12.34 EUR" not in other


@pytest.mark.parametrize(("model", "reference"), [("payment", "ch_1"), ("refund", "re_1")])
def test_a_row_has_a_page_that_changes_nothing(
    admin_client: Client, refund: Refund, model: str, reference: str
) -> None:
    key = refund.key if model == "refund" else refund.payment_id
    url = reverse(f"admin:payments_{model}_change", args=[key])

    page = admin_client.get(url)
    change = admin_client.post(url, {"amount": 1})

    assert reference in page.content.decode()
    assert (page.status_code, change.status_code) == (200, 403)
    assert Payment.objects.get().amount == Refund.objects.get().amount == 1234


def test_webhooks_and_mismatches_are_shown_and_changed_by_nobody(admin_client: Client) -> None:
    told = {"id": "evt_1", "type": "disputed"}
    event = WebhookEvent.objects.create(
        gateway="simulated", event_id="evt_1", type="disputed", order_id=str(ORDER), amount=1234, currency="EUR",
        payload=told,
    )  # fmt: skip
    mismatch = Mismatch.objects.create(finding="disputed", key="k-1", order_id=str(ORDER), detail="12.34 EUR at stake")

    for row, shown in ((event, "12.34 EUR"), (mismatch, "12.34 EUR at stake")):
        name = row._meta.model_name
        listed = admin_client.get(reverse(f"admin:payments_{name}_changelist"), {"q": str(ORDER)})
        url = reverse(f"admin:payments_{name}_change", args=[row.pk])
        page, change = admin_client.get(url), admin_client.post(url, {})

        assert shown in listed.content.decode()
        assert "disputed" in page.content.decode()
        assert (page.status_code, change.status_code) == (200, 403)
