"""The desk's pages of sagas: where each run stands, and what happened to its order."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString

from desk.actions.buttons import saga_buttons
from desk.filters import NameFilter
from desk.tables import (
    Table,
    actions_table,
    attempts_table,
    cases_table,
    messages_table,
    order_link,
    state_badge,
    steps_table,
)
from desk.timeline.page import drawn
from outbox.desk import ReadOnlyAdmin, as_json, clock, duration, short
from sagas.models import OperatorAction, SagaInstance


@admin.register(SagaInstance)
class SagaAdmin(ReadOnlyAdmin):
    """Runs of sagas, newest first: their ids grow with time."""

    id_fields = ("id", "key")
    search_help_text = "Order id or saga id"
    list_display = ("short_id", "name", "short_order", "state", "reason", "started", "took")
    list_filter = ("status", NameFilter)
    ordering = ("-id",)
    sortable_by = ()
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("state", "reason"),
                    ("name", "version"),
                    ("order", "id"),
                    ("started", "ended"),
                    ("took", "deadline"),
                )
            },
        ),
        ("What its commands are filled from", {"classes": ("collapse",), "fields": ("content",)}),
    )
    change_form_outer_before_template = "desk/saga_drawn.html"
    change_form_outer_after_template = "desk/tables.html"

    class Media:
        css: ClassVar = {"all": ("desk/order.css",)}

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show a saga as a diagram, with what happened around it; the order's page has the whole story."""
        saga = self.get_object(request, object_id)
        shown = {} if saga is None else {"saga": next(drawn([saga], saga.key)), "tables": _story(saga)}
        if saga is not None:
            shown["buttons"] = [*saga_buttons(request.user, saga)]
        return super().change_view(  # type: ignore[no-any-return]
            request, object_id, form_url, {**(extra_context or {}), **shown}
        )

    @admin.display(description="saga")
    def short_id(self, saga: SagaInstance) -> SafeString | str:
        """The id, short."""
        return short(saga.pk)

    @admin.display(description="order")
    def short_order(self, saga: SagaInstance) -> SafeString | str:
        """The order, short."""
        return short(saga.key)

    @admin.display(description="order")
    def order(self, saga: SagaInstance) -> SafeString:
        """The order; leads to its page, which tells all that happened."""
        return order_link(saga.key)

    @admin.display(description="status")
    def state(self, saga: SagaInstance) -> SafeString:
        """Where it stands."""
        return state_badge(saga.status)

    @admin.display(description="started")
    def started(self, saga: SagaInstance) -> str:
        """When it began."""
        return clock(saga.started_at)

    @admin.display(description="ended")
    def ended(self, saga: SagaInstance) -> str:
        """When it ended."""
        return clock(saga.ended_at)

    @admin.display(description="deadline")
    def deadline(self, saga: SagaInstance) -> str:
        """When the step in flight is overdue."""
        return clock(saga.due_at)

    @admin.display(description="took")
    def took(self, saga: SagaInstance) -> str:
        """How long it ran, or has run so far."""
        return duration(saga.started_at, saga.ended_at)

    @admin.display(description="data")
    def content(self, saga: SagaInstance) -> SafeString:
        """What its commands are filled from, without what it says about a person."""
        return as_json(saga.data)


def _story(saga: SagaInstance) -> list[Table]:
    return [
        steps_table(saga),
        cases_table(saga.cases.order_by("id")),
        actions_table(OperatorAction.objects.filter(saga_id=saga.pk).order_by("id")),
        attempts_table(saga.key),
        messages_table(saga.key),
    ]
