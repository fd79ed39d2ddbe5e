"""The desk's view of payments: what was taken for an order, and what was given back."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString

from outbox.admin import story_link
from outbox.desk import ReadOnlyAdmin, badge, clock
from payments.models import Payment, Refund

STATUSES = {
    Payment.Status.CHARGED: "success",
    Payment.Status.DECLINED: "",
    Payment.Status.UNKNOWN: "warning",
    Payment.Status.VOID: "",
    Payment.Status.REFUNDED: "info",
}


class _MoneyAdmin(ReadOnlyAdmin):
    """Newest orders first: a key begins with its order's id, which begins with its time."""

    id_fields = ("order_id",)
    search_help_text = "Order id"
    ordering = ("-key",)
    sortable_by = ()

    @admin.display(description="order")
    def order(self, row: Payment | Refund) -> SafeString:
        """Leads to all that was said of the order."""
        return story_link(row.order_id)

    @admin.display(description="amount (minor units)")
    def money(self, row: Payment | Refund) -> str:
        """The amount with its currency."""
        return f"{row.amount} {row.currency}"

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
