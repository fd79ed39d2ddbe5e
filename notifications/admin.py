"""The desk's view of notifications: which e-mail went out for an order."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString

from notifications.models import Email
from outbox.admin import message_link, story_link
from outbox.desk import ReadOnlyAdmin, clock


@admin.register(Email)
class EmailAdmin(ReadOnlyAdmin):
    """E-mails that the mail server took, newest event first."""

    id_fields = ("order_id", "message_id")
    search_help_text = "Order id or message id"
    ordering = ("-message_id",)
    sortable_by = ()
    list_display = ("sent", "order", "event")
    fields = (("order", "sent"), ("event", "message"))

    @admin.display(description="sent at")
    def sent(self, email: Email) -> str:
        """When the mail server took it."""
        return clock(email.sent_at)

    @admin.display(description="order")
    def order(self, email: Email) -> SafeString:
        """Leads to all that happened to the order."""
        return story_link(email.order_id)

    @admin.display(description="message")
    def message(self, email: Email) -> SafeString:
        """The event it tells of."""
        return message_link(email.message_id)
