"""The desk's view of payments: what was taken for an order, and what was given back."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString

from outbox.admin import story_link
from outbox.desk import ReadOnlyAdmin, as_json, badge, clock
from outbox.money import to_text
from payments.models import Mismatch, Payment, Refund, WebhookEvent

STATUSES = {
    Payment.Status.CHARGED: "success",
    Payment.Status.DECLINED: "",
    Payment.Status.UNKNOWN: "warning",
    Payment.Status.VOID: "",
    Payment.Status.REFUNDED: "info",
}

WEBHOOK_STATUSES = {
    WebhookEvent.Status.RECEIVED: "info",
    WebhookEvent.Status.PARKED: "warning",
    WebhookEvent.Status.APPLIED: "success",
    WebhookEvent.Status.REPAIRED: "success",
    WebhookEvent.Status.REPORTED: "danger",
    WebhookEvent.Status.IGNORED: "",
}


class _MoneyAdmin(ReadOnlyAdmin):
    """Newest orders first: a key begins with its order's id, which begins with its time."""

    id_fields = ("order_id",)
    search_help_text = "Order id"
    ordering = ("-key",)
    sortable_by = ()

    @admin.display(description="order")
    def order(self, row: Payment | Refund) -> SafeString:
        """Leads to all that happened to the order."""
        return story_link(row.order_id)

    @admin.display(description="amount")
    def money(self, row: Payment | Refund) -> str:
        """The amount with its currency."""
        return f"{to_text(minor_units=row.amount, currency=row.currency)} {row.currency}"

    @admin.display(description="at")
    def created(self, row: Payment | Refund) -> str:
        """When it was recorded."""
        return clock(row.created_at)


@admin.register(Payment)
class PaymentAdmin(_MoneyAdmin):
    """Charges as the gateway answered them."""

    list_display = ("created", "order", "status_badge", "money", "gateway", "reference", "code")
    fields = (
        ("order", "created"),
        ("status_badge", "code"),
        ("money",),
        ("gateway", "reference"),
        ("key",),
    )

    @admin.display(description="status")
    def status_badge(self, payment: Payment) -> SafeString:
        """What became of the money."""
        return badge(payment.status, STATUSES[Payment.Status(payment.status)])


@admin.register(Refund)
class RefundAdmin(_MoneyAdmin):
    """Money that the gateway gave back."""

    list_display = ("created", "order", "money", "reference")
    fields = (("order", "created"), ("money", "reference"), ("key",), ("payment",))


@admin.register(WebhookEvent)
class WebhookEventAdmin(ReadOnlyAdmin):
    """What gateways told us by themselves, newest first."""

    id_fields = ("order_id",)
    search_help_text = "Order id"
    ordering = ("-pk",)
    sortable_by = ()
    list_display = ("received", "type", "status_badge", "order_id", "money", "gateway", "event_id")
    fields = (
        ("received", "settled"),
        ("type", "status_badge", "money"),
        ("order_id", "key"),
        ("gateway", "event_id"),
        ("told",),
    )

    @admin.display(description="at")
    def received(self, event: WebhookEvent) -> str:
        """When it came."""
        return clock(event.received_at)

    @admin.display(description="settled")
    def settled(self, event: WebhookEvent) -> str:
        """When our own rows said the same, or a person was told."""
        return clock(event.settled_at)

    @admin.display(description="status")
    def status_badge(self, event: WebhookEvent) -> SafeString:
        """What became of it."""
        return badge(event.status, WEBHOOK_STATUSES[WebhookEvent.Status(event.status)])

    @admin.display(description="amount")
    def money(self, event: WebhookEvent) -> str:
        """The amount with its currency."""
        return f"{to_text(minor_units=event.amount, currency=event.currency)} {event.currency}".strip()

    @admin.display(description="what it said")
    def told(self, event: WebhookEvent) -> SafeString:
        """The event as the gateway sent it."""
        return as_json(event.payload)


@admin.register(Mismatch)
class MismatchAdmin(ReadOnlyAdmin):
    """What a person was told about a gateway's ledger; the case of the order says what became of it."""

    id_fields = ("order_id",)
    search_help_text = "Order id"
    ordering = ("-pk",)
    sortable_by = ()
    list_display = ("found", "finding", "order_id", "detail")
    fields = (("found", "finding"), ("order_id",), ("key",), ("detail",))

    @admin.display(description="at")
    def found(self, mismatch: Mismatch) -> str:
        """When it was found."""
        return clock(mismatch.found_at)
