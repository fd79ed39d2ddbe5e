"""The desk shows the orders of each day."""

import pytest
from django.test import Client
from django.urls import reverse

from analytics.models import OrdersPerDay

pytestmark = pytest.mark.django_db


def test_days_are_listed_and_filtered_by_outcome(admin_client: Client) -> None:
    for outcome, amount in (("created", 111), ("confirmed", 222)):
        OrdersPerDay.objects.create(day="2026-11-24", outcome=outcome, currency="EUR", orders=1, amount=amount)
    url = reverse("admin:analytics_ordersperday_changelist")

    page = admin_client.get(url, {"outcome__exact": "created"}).content.decode()

    assert ">111<" in page
    assert ">222<" not in page
