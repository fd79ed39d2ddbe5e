"""The desk's view of shipping: which parcel goes out for an order."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString

from outbox.admin import story_link
from outbox.desk import ReadOnlyAdmin, badge, clock
from shipping.models import Shipment

STATUSES = {
    Shipment.Status.CREATED: "success",
    Shipment.Status.REFUSED: "",
    Shipment.Status.UNKNOWN: "warning",
    Shipment.Status.CANCELLED: "info",
}


@admin.register(Shipment)
class ShipmentAdmin(ReadOnlyAdmin):
    """Parcels as the carrier answered them, newest orders first; where they go is personal and not shown."""

    id_fields = ("order_id",)
    search_help_text = "Order id"
    # A key begins with its order's id, which begins with its time.
    ordering = ("-key",)
    sortable_by = ()
    list_display = ("created", "order", "status_badge", "carrier", "tracking", "code")
    fields = (("order", "created"), ("status_badge", "code"), ("carrier", "tracking"), ("key",))

    @admin.display(description="order")
    def order(self, shipment: Shipment) -> SafeString:
        """Leads to all that happened to the order."""
        return story_link(shipment.order_id)

    @admin.display(description="status")
    def status_badge(self, shipment: Shipment) -> SafeString:
        """What became of the parcel."""
        return badge(shipment.status, STATUSES[Shipment.Status(shipment.status)])

    @admin.display(description="at")
    def created(self, shipment: Shipment) -> str:
        """When it was recorded."""
        return clock(shipment.created_at)
