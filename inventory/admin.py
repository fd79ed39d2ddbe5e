"""The desk's view of inventory: what can be sold, and how much of it is promised already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from inventory.models import Stock
from outbox.desk import ReadOnlyAdmin
from outbox.money import to_text


@admin.register(Stock)
class StockAdmin(ReadOnlyAdmin):
    """Products with their stock, found by whole SKU."""

    list_display = ("sku", "name", "price", "on_hand", "reserved", "loaded")
    list_select_related = ("product",)
    ordering = ("product",)
    sortable_by = ()
    fields = (("sku", "name", "price"), ("on_hand", "reserved", "loaded"))
    search_help_text = "SKU"

    def get_search_fields(self, request: HttpRequest) -> Sequence[str]:  # noqa: ARG002 - Django passes it
        """Show the search box."""
        return ("product_id",)

    def get_search_results(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: QuerySet[Any],
        search_term: str,
    ) -> tuple[QuerySet[Any], bool]:
        """Find the product with this SKU."""
        return (queryset.filter(product_id=search_term.strip()) if search_term else queryset), False

    @admin.display(description="SKU")
    def sku(self, stock: Stock) -> str:
        """The product's own name in all messages."""
        return stock.product_id

    @admin.display(description="product")
    def name(self, stock: Stock) -> str:
        """What customers call it."""
        return stock.product.name

    @admin.display(description="price")
    def price(self, stock: Stock) -> str:
        """The price with its currency."""
        product = stock.product
        return f"{to_text(minor_units=product.price, currency=product.currency)} {product.currency}"
