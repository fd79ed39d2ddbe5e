"""How the catalogue looks from outside."""

from __future__ import annotations

from rest_framework import serializers

from inventory.models import Product, Stock
from outbox.money import to_text


class PriceSerializer(serializers.Serializer[Product]):
    """A price as a decimal number with its currency."""

    amount = serializers.SerializerMethodField()
    currency = serializers.CharField()

    def get_amount(self, product: Product) -> str:
        """Return the price with the currency's own number of decimals."""
        return to_text(minor_units=product.price, currency=product.currency)


class ProductSerializer(serializers.Serializer[Stock]):
    """A product and how many pieces of it can be ordered now."""

    sku = serializers.CharField(source="product_id")
    name = serializers.CharField(source="product.name")
    price = PriceSerializer(source="product")
    available = serializers.IntegerField(source="on_hand")
