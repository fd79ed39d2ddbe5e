"""The desk shows stock, finds it by SKU, and lets nobody change it."""

import pytest
from django.test import Client
from django.urls import reverse

from tests.factories.inventory import levels, stocked

pytestmark = pytest.mark.django_db


def test_stock_is_found_by_sku(admin_client: Client) -> None:
    stocked("MUG", on_hand=10)
    stocked("PEN", on_hand=10)

    page = admin_client.get(reverse("admin:inventory_stock_changelist"), {"q": " MUG "}).content.decode()

    assert "12.50 EUR" in page
    assert "The MUG" in page
    assert "The PEN" not in page


def test_a_product_has_a_page_that_changes_nothing(admin_client: Client) -> None:
    stocked("MUG", on_hand=10)
    url = reverse("admin:inventory_stock_change", args=["MUG"])

    page = admin_client.get(url)
    change = admin_client.post(url, {"on_hand": 99})

    assert "The MUG" in page.content.decode()
    assert (page.status_code, change.status_code) == (200, 403)
    assert levels("MUG") == (10, 0)
