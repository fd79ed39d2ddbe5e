"""The desk's view of orders: what was bought, for how much, and how it ended."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString

from orders.models import Order, Price
from outbox.admin import story_link
from outbox.desk import ReadOnlyAdmin, as_json, badge, clock
from outbox.money import to_text

STATUSES = {
    Order.Status.PENDING: "info",
    Order.Status.CONFIRMED: "success",
    Order.Status.CANCELLING: "warning",
    Order.Status.CANCELLED: "",
    Order.Status.RETURNING: "warning",
    Order.Status.RETURNED: "",
}


@admin.register(Order)
class OrderAdmin(ReadOnlyAdmin):
    """Newest orders first, found by their id."""

    id_fields = ("id",)
    search_help_text = "Order id"
    ordering = ("-id",)
    sortable_by = ()
    list_display = ("placed", "story", "status_badge", "reason", "total", "customer_id")
    fields = (
        ("id", "story"),
        ("status_badge", "reason"),
        ("total", "customer_id"),
        ("placed", "changed"),
        ("items",),
    )

    @admin.display(description="placed")
    def placed(self, order: Order) -> str:
        """When the customer ordered."""
        return clock(order.placed_at)

    @admin.display(description="last change")
    def changed(self, order: Order) -> str:
        """When its status changed last."""
        return clock(order.updated_at)

    @admin.display(description="whole story")
    def story(self, order: Order) -> SafeString:
        """Leads to the page that tells all that happened to the order."""
        return story_link(order.pk)

    @admin.display(description="status")
    def status_badge(self, order: Order) -> SafeString:
        """Where the order stands."""
        return badge(order.status, STATUSES[Order.Status(order.status)])

    @admin.display(description="total")
    def total(self, order: Order) -> str:
        """The total with its currency."""
        return f"{to_text(minor_units=order.amount, currency=order.currency)} {order.currency}"

    @admin.display(description="items")
    def items(self, order: Order) -> SafeString:
        """What was ordered, at the prices of that moment."""
        return as_json(
            [
                {
                    "sku": line.sku,
                    "name": line.name,
                    "quantity": line.quantity,
                    "unit_price": to_text(minor_units=line.unit_price, currency=order.currency),
                }
                for line in order.lines.order_by("position")
            ]
        )


@admin.register(Price)
class PriceAdmin(ReadOnlyAdmin):
    """The price list that checkout uses."""

    list_display = ("sku", "name", "price", "updated_at")
    ordering = ("sku",)
    sortable_by = ()
    fields = (("sku", "name"), ("price", "updated_at"))

    @admin.display(description="price")
    def price(self, row: Price) -> str:
        """The price with its currency."""
        return f"{to_text(minor_units=row.amount, currency=row.currency)} {row.currency}"
