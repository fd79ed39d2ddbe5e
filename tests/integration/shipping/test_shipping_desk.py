"""The desk shows parcels, finds them by order, lets nobody change them, and tells nobody's address."""

import pytest
from django.test import Client
from django.urls import reverse
from uuid_utils.compat import uuid7

from shipping.models import Shipment

pytestmark = pytest.mark.django_db

ORDER = uuid7()


@pytest.fixture
def shipment() -> Shipment:
    return Shipment.objects.create(
        key=f"{ORDER}-ship",
        order_id=ORDER,
        status="created",
        carrier="simulated",
        tracking="SIM123",
        address={"name": "Ada Lovelace"},
    )


@pytest.mark.usefixtures("shipment")
def test_parcels_are_found_by_order(admin_client: Client) -> None:
    url = reverse("admin:shipping_shipment_changelist")

    found = admin_client.get(url, {"q": str(ORDER)}).content.decode()
    other = admin_client.get(url, {"q": str(uuid7())}).content.decode()

    assert "SIM123" in found
    assert "SIM123" not in other


def test_a_parcel_has_a_page_that_changes_nothing(admin_client: Client, shipment: Shipment) -> None:
    url = reverse("admin:shipping_shipment_change", args=[shipment.key])

    page = admin_client.get(url)
    change = admin_client.post(url, {"status": "cancelled"})

    assert "SIM123" in page.content.decode()
    assert "Ada Lovelace" not in page.content.decode()
    assert (page.status_code, change.status_code) == (200, 403)
    assert Shipment.objects.get().status == "created"
