"""The desk's pages of the operator log: who did what, why, and what came of it."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString

from desk.tables import order_link, result_badge, saga_link
from outbox.desk import ReadOnlyAdmin, as_json, clock, short
from sagas.models import OperatorAction


@admin.register(OperatorAction)
class OperatorActionAdmin(ReadOnlyAdmin):
    """The operator log: who did what, why, and what came of it."""

    id_fields = ("key", "saga_id")
    search_help_text = "Order id or saga id"
    list_display = ("done", "operator", "action", "short_order", "reason", "reference", "outcome")
    ordering = ("-id",)
    sortable_by = ()
    fields = (
        ("done", "operator"),
        ("action", "outcome", "approved_by"),
        ("reason", "reference"),
        ("order", "saga_page"),
        ("saw",),
    )

    @admin.display(description="at")
    def done(self, entry: OperatorAction) -> str:
        """When."""
        return clock(entry.at)

    @admin.display(description="result")
    def outcome(self, entry: OperatorAction) -> SafeString:
        """What came of it."""
        return result_badge(entry.result)

    @admin.display(description="order")
    def short_order(self, entry: OperatorAction) -> SafeString | str:
        """The order, short."""
        return short(entry.key)

    @admin.display(description="order")
    def order(self, entry: OperatorAction) -> SafeString:
        """The order; leads to its page."""
        return order_link(entry.key)

    @admin.display(description="saga")
    def saga_page(self, entry: OperatorAction) -> SafeString | str:
        """The saga; leads to its page."""
        return saga_link(entry.saga_id)

    @admin.display(description="state before")
    def saw(self, entry: OperatorAction) -> SafeString:
        """The state before the action."""
        return as_json(entry.seen)
