"""The list of bulk runs; each leads to its own page."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.safestring import SafeString

from desk.bulk.models import BulkRow, BulkRun
from desk.bulk.pages import phase_badge, title_of
from outbox.desk import ReadOnlyAdmin, clock


@admin.register(BulkRun)
class BulkRunAdmin(ReadOnlyAdmin):
    """What was done with many cases at once: the newest first."""

    list_display = ("number", "what", "state", "progress", "failed", "who", "requested", "why")
    list_before_template = "desk/bulk_list.html"
    list_filter = ("phase", "action")
    ordering = ("-id",)
    sortable_by = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[BulkRun]:
        """Read each run of the page with two of its counts."""
        found: QuerySet[BulkRun] = super().get_queryset(request)
        return found.annotate(
            left=_count(BulkRow.Status.WAITING),
            failures=_count(BulkRow.Status.FAILED_AGAIN),
        )

    def change_view(
        self,
        request: HttpRequest,  # noqa: ARG002 - Django passes it
        object_id: str,
        form_url: str = "",  # noqa: ARG002
        extra_context: Any = None,  # noqa: ARG002
    ) -> HttpResponse:
        """Lead to the page of the run."""
        return HttpResponseRedirect(reverse("desk:bulk-run", args=[object_id]))

    @admin.display(description="run")
    def number(self, run: BulkRun) -> str:
        """Its number."""
        return f"#{run.pk}"

    @admin.display(description="action")
    def what(self, run: BulkRun) -> str:
        """What is done with each case."""
        return title_of(run.action)

    @admin.display(description="state")
    def state(self, run: BulkRun) -> SafeString:
        """How far it has come."""
        return phase_badge(run)

    @admin.display(description="progress")
    def progress(self, run: Any) -> str:
        """How many cases have had their turn."""
        return f"{run.size - run.left} of {run.size}"

    @admin.display(description="failed again")
    def failed(self, run: Any) -> str:
        """How many cases have failed again."""
        return str(run.failures or "-")

    @admin.display(description="asked for by")
    def who(self, run: BulkRun) -> str:
        """Who froze the set."""
        return run.requested_by

    @admin.display(description="at")
    def requested(self, run: BulkRun) -> str:
        """When the set was frozen."""
        return clock(run.requested_at)

    @admin.display(description="reason")
    def why(self, run: BulkRun) -> str:
        """Why it was wanted."""
        return run.reason or "-"


def _count(status: str) -> Coalesce:
    rows = BulkRow.objects.filter(run=OuterRef("pk"), status=status).order_by()
    counted = rows.values("run").annotate(many=Count("pk")).values("many")
    return Coalesce(Subquery(counted), 0, output_field=IntegerField())
