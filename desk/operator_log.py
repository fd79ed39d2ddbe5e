"""The desk's pages of the operator log: who did what, from where, why, what was said of it, and what came of it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString

from desk.log_filters import ActionFilter, OperatorFilter, ResultFilter, TimeFilter
from desk.tables import order_link, outcome_badge, result_badge, saga_link
from outbox.desk import ReadOnlyAdmin, as_json, clock, link, short
from sagas.models import OperatorAction
from sagas.pursuit import Outcome, outcome_of

EXPORT = "sagas.export_log"


class LogList(ChangeList):
    """A page of the log, with what has come of each line by now."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the lines, and the rows that tell what became of them: a handful of statements for a page."""
        super().get_results(request)
        self.result_list = list(self.result_list)
        outcomes = outcome_of(self.result_list)
        for line in self.result_list:
            line.outcome_now = outcomes[line.pk]


@admin.register(OperatorAction)
class OperatorActionAdmin(ReadOnlyAdmin):
    """The operator log: who did what, why, and what came of it."""

    id_fields = ("key", "saga_id")
    search_help_text = "Order id or saga id"
    list_display = ("done", "operator", "action", "about", "reason", "said", "now", "from_where")
    list_filter = (OperatorFilter, ActionFilter, ResultFilter, TimeFilter)
    list_filter_submit = True
    list_before_template = "desk/log_export.html"
    ordering = ("-id",)
    sortable_by = ()
    fields = (
        ("done", "action"),
        ("operator", "from_where"),
        ("reason", "reference"),
        ("said", "now"),
        ("approved_by", "what"),
        ("order", "saga_page"),
        ("saw",),
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:  # noqa: ARG002
        """Show the lines with their outcomes."""
        return LogList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Offer the export of what the list shows to who may have it."""
        context = {
            **(extra_context or {}),
            "may_export": request.user.has_perm(EXPORT),
            "query": request.GET.urlencode(),
        }
        return super().changelist_view(request, context)  # type: ignore[no-any-return]

    @admin.display(description="at (UTC)")
    def done(self, entry: OperatorAction) -> str:
        """When."""
        return clock(entry.at)

    @admin.display(description="said then")
    def said(self, entry: OperatorAction) -> SafeString:
        """What was said of it at the time."""
        return result_badge(entry.result)

    @admin.display(description="now")
    def now(self, entry: Any) -> SafeString:
        """What has come of it since."""
        known: Outcome | None = getattr(entry, "outcome_now", None)
        return outcome_badge(known or outcome_of([entry])[entry.pk])

    @admin.display(description="from")
    def from_where(self, entry: OperatorAction) -> str:
        """The visitor's address, or the host of a command."""
        return entry.origin or "-"

    @admin.display(description="about")
    def what(self, entry: OperatorAction) -> str:
        """Which switch it was, for what concerns no order."""
        return str(entry.seen.get("about", "-"))

    @admin.display(description="about")
    def about(self, entry: OperatorAction) -> SafeString | str:
        """The order, short; or which switch it was."""
        if entry.key is None:
            return str(entry.seen.get("about", "-"))
        return link(f"?q={entry.key}", short(entry.key))

    @admin.display(description="order")
    def order(self, entry: OperatorAction) -> SafeString | str:
        """The order; leads to its page."""
        return order_link(entry.key) if entry.key else "-"

    @admin.display(description="saga")
    def saga_page(self, entry: OperatorAction) -> SafeString | str:
        """The saga; leads to its page."""
        return saga_link(entry.saga_id)

    @admin.display(description="state before")
    def saw(self, entry: OperatorAction) -> SafeString:
        """The state before the action."""
        return as_json(entry.seen)
