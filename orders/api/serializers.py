"""The shape of what the API reads and writes; the rules of checkout live in the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.urls import reverse
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

from orders.models import MAX_LINES, MAX_QUANTITY, Order, OrderLine
from outbox.money import money

MONEY_SCHEMA = {
    "type": "object",
    "properties": {
        "amount": {"type": "string", "pattern": r"^\d+(\.\d+)?$", "example": "12.34"},
        "currency": {"type": "string", "pattern": "^[A-Z]{3}$", "example": "EUR"},
    },
    "required": ["amount", "currency"],
}
LINKS_SCHEMA = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("self", "timeline", "cancel", "returns")},
    "required": ["self", "timeline", "cancel", "returns"],
}


class StrictSerializer(serializers.Serializer[Any]):
    """A body whose unknown fields are refused: a misspelt one would else be ignored in silence."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the value. Raises `ValidationError` with the unknown fields beside the wrong ones."""
        errors: dict[str, Any] = {}
        if isinstance(data, Mapping):
            unknown = ErrorDetail("This field is not known.", code="unknown_field")
            errors = {name: [unknown] for name in data if name not in self.fields}
        try:
            value = super().to_internal_value(data)
        except ValidationError as exc:
            raise ValidationError({**errors, **exc.detail} if isinstance(exc.detail, dict) else exc.detail) from exc
        if errors:
            raise ValidationError(errors)
        return value


class ItemSerializer(StrictSerializer):
    """One SKU and how many pieces of it."""

    sku = serializers.CharField(max_length=100)
    quantity = serializers.IntegerField(min_value=1, max_value=MAX_QUANTITY)


class AddressSerializer(StrictSerializer):
    """Where an order goes; the country is an ISO 3166 alpha-2 code."""

    name = serializers.CharField(max_length=200)
    line1 = serializers.CharField(max_length=200)
    city = serializers.CharField(max_length=100)
    postal_code = serializers.CharField(max_length=20)
    country = serializers.RegexField(r"\A[A-Z]{2}\Z")


class CheckoutSerializer(StrictSerializer):
    """What is wanted, how it is paid, where it goes. Customer and amount never come from a body."""

    items = serializers.ListField(child=ItemSerializer(), allow_empty=False, max_length=MAX_LINES)
    payment_method = serializers.CharField(max_length=100)
    shipping_address = AddressSerializer()


class EmptySerializer(StrictSerializer):
    """No body, or an empty object."""


@extend_schema_field(MONEY_SCHEMA)
class MoneyField(serializers.Field[Any, Any, Any, Any]):
    """An amount in minor units with its currency, written as a decimal number."""

    def __init__(self, *, amount: str, currency: str) -> None:
        super().__init__(read_only=True, source="*")
        self._path = amount, currency.split(".")

    def to_representation(self, value: Any) -> dict[str, str]:
        """Return amount and currency."""
        amount, path = self._path
        currency = value
        for name in path:
            currency = getattr(currency, name)
        return money(minor_units=getattr(value, amount), currency=currency)


class LineSerializer(serializers.Serializer[OrderLine]):
    """One line of an order, as it was at checkout."""

    sku = serializers.CharField()
    name = serializers.CharField()
    quantity = serializers.IntegerField()
    unit_price = MoneyField(amount="unit_price", currency="order.currency")


class OrderSerializer(serializers.Serializer[Order]):
    """An order. `reason` says why it was cancelled or is being cancelled; it is empty otherwise."""

    id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=Order.Status.choices)
    reason = serializers.CharField()
    total = MoneyField(amount="amount", currency="currency")
    items = LineSerializer(many=True, source="loaded_lines")
    payment_method = serializers.CharField()
    shipping_address = AddressSerializer()
    created_at = serializers.DateTimeField(source="placed_at")
    updated_at = serializers.DateTimeField()
    links = serializers.SerializerMethodField()

    @extend_schema_field(LINKS_SCHEMA)
    def get_links(self, order: Order) -> dict[str, str]:
        """Return the addresses of what can be read and done next."""
        address = order_url(order_id=order.id)
        return {"self": address, **{name: f"{address}/{name}" for name in ("timeline", "cancel", "returns")}}


def order_url(*, order_id: object) -> str:
    """Return the address of an order."""
    return reverse("order", args=[order_id])
