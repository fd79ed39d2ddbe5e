"""Customers with tokens, a price list, and orders."""

import json
from collections.abc import Mapping
from itertools import count
from typing import Any
from uuid import UUID, uuid4

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client
from rest_framework.authtoken.models import Token

from inventory.contracts import ProductListed
from orders.contracts import Address, Line
from orders.models import Order
from orders.services import list_prices, place_order
from outbox.models import Message

ADDRESS = {"name": "Ada", "line1": "1 Main St", "city": "Berlin", "postal_code": "10115", "country": "DE"}
_numbers = count(1)


class Customer:
    """A customer and the client he calls the API with."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.id = user.pk
        self.token = Token.objects.create(user=user).key
        self.client = self.new_client()

    def new_client(self) -> Client:
        """Return a further client, for a thread of its own."""
        return Client(headers={"Authorization": f"Token {self.token}"}, raise_request_exception=False)

    def get(self, path: str) -> Any:
        """Read a page of the API."""
        return self.client.get(f"/api/v1/{path}")

    def post(
        self,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        client: Client | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Send a body as JSON, with a key of its own if none is given."""
        return (client or self.client).post(
            f"/api/v1/{path}",
            body if isinstance(body, str | bytes) else json.dumps(body or {}),
            content_type="application/json",
            headers={"Idempotency-Key": key or str(uuid4()), **(headers or {})},
        )


def customer(**fields: Any) -> Customer:
    """Make a customer with a token."""
    user = get_user_model().objects.create(username=f"customer-{next(_numbers)}-{uuid4()}", **fields)
    return Customer(user)


def price(sku: str, amount: int = 1250, currency: str = "EUR") -> None:
    """Put a SKU on the price list."""
    list_prices(products=[ProductListed(sku=sku, name=f"The {sku}", price=amount, currency=currency)])


def checkout(*items: tuple[str, int], **changes: Any) -> dict[str, Any]:
    """Return the body of a checkout."""
    return {
        "items": [{"sku": sku, "quantity": quantity} for sku, quantity in items],
        "payment_method": "pm_card_visa",
        "shipping_address": ADDRESS,
        **changes,
    }


def placed(
    *items: tuple[str, int], customer_id: int = 7, status: str = Order.Status.PENDING, reason: str = ""
) -> Order:
    """Place an order through the service, and put it where it is wanted."""
    order = place_order(
        customer_id=customer_id,
        items=[Line(sku=sku, quantity=quantity) for sku, quantity in items],
        payment_method="pm_card_visa",
        shipping_address=Address(**ADDRESS),
    )
    Order.objects.filter(id=order.id).update(status=status, reason=reason)
    order.refresh_from_db()
    return order


def many_placed(number: int, **fields: Any) -> list[Order]:
    """Place orders that are no duplicates of each other."""
    price("MANY")
    return [placed(("MANY", quantity + 1), **fields) for quantity in range(number)]


def told(order_id: UUID | str) -> list[str]:
    """Return the types of what was said of an order, in order."""
    messages = Message.objects.filter(ordering_key=order_id).order_by("sequence")
    return list(messages.values_list("type", flat=True))


def take_back() -> None:
    """Remove what a test has committed, from the append-only log too."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE outbox_message DISABLE TRIGGER outbox_append_only")
        cursor.execute("DELETE FROM outbox_message WHERE source = 'orders'")
        cursor.execute("ALTER TABLE outbox_message ENABLE ALWAYS TRIGGER outbox_append_only")
        cursor.execute("TRUNCATE outbox_delivery, outbox_idempotencykey, orders_orderline, orders_order, orders_price")
    get_user_model().objects.filter(username__startswith="customer-").delete()
