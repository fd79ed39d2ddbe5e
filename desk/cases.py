"""The desk's pages of cases: what waits for a person, and what the person can do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.dataclasses import UnfoldAction
from unfold.decorators import action
from unfold.enums import ActionVariant

from desk.actions import ABANDON, ACTIONS, RESOLVE, RETRY, SKIP, CaseAction
from desk.bulk import retry_selected
from desk.confirmation import confirm, decide
from desk.filters import OverdueFilter
from desk.tables import (
    Table,
    actions_table,
    attempts_table,
    case_badge,
    order_link,
    saga_link,
    state_badge,
    steps_table,
)
from outbox.desk import ReadOnlyAdmin, clock, duration, short
from sagas import four_eyes
from sagas.models import Case, OperatorAction


def _may(name: str) -> Callable[[Any, HttpRequest, Any], bool]:
    def is_allowed(_admin: Any, request: HttpRequest, _object_id: Any = None) -> bool:
        return request.user.has_perm(f"sagas.{name}_case")

    return is_allowed


@admin.register(Case)
class CaseAdmin(ReadOnlyAdmin):
    """What waits for a person: open ones first, the most urgent on top."""

    id_fields = ("key", "saga_id", "message_id")
    search_help_text = "Order id, saga id or message id"
    # Cases are few: people have to work through them.
    paginator = Paginator
    show_full_result_count = True
    list_display = ("number", "state", "what", "error_class", "short_order", "owner", "due_in", "attempts")
    list_filter = ("status", OverdueFilter, "resolution", ("step", admin.AllValuesFieldListFilter))
    ordering = ("-status", F("closed_at").desc(nulls_first=True), "due_at", "id")
    sortable_by = ()
    list_select_related = ("saga",)
    change_form_outer_after_template = "desk/tables.html"
    actions: ClassVar = (retry_selected,)
    actions_detail: ClassVar = ("retry", "skip", "resolve", "abandon", "approve", "decline")

    def get_fields(self, request: HttpRequest, obj: Case | None = None) -> list[tuple[str, ...]]:  # noqa: ARG002
        """Show how it ended once it has."""
        is_closed = obj is not None and obj.status == Case.Status.CLOSED
        return [
            ("state", "step_now"),
            *([("reason",), ("reference", "closed")] if is_closed else []),
            ("order", "saga_page"),
            ("what", "attempts"),
            ("error_class", "fingerprint"),
            ("error",),
            ("opened", "due"),
            ("owner",),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Case]:
        """Read each case with its saga."""
        found: QuerySet[Case] = super().get_queryset(request).select_related("saga")
        return found

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[UnfoldAction]:
        """Offer what can be done with this case and what the operator may do."""
        case = self.get_object(request, str(object_id))
        if case is None or case.status != Case.Status.OPEN:
            return []
        allowed: list[UnfoldAction] = super().get_actions_detail(request, object_id)
        hidden = set() if case.saga_id else {"skip"}
        asked = four_eyes.waiting_for(case=case)
        if asked is None or asked.action not in ACTIONS:
            hidden |= {"approve", "decline"}
        return [each for each in allowed if each.path not in hidden]

    # Methods, not names with a dot: unfold looks those up in the database while it checks the system, which
    # fails before the first migration.
    has_retry_case_permission = _may("retry")
    has_skip_case_permission = _may("skip")
    has_resolve_case_permission = _may("resolve")
    has_abandon_case_permission = _may("abandon")
    has_approve_case_permission = _may("approve")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show a case with the story behind it."""
        case = self.get_object(request, object_id)
        return super().change_view(  # type: ignore[no-any-return]
            request,
            object_id,
            form_url,
            {**(extra_context or {}), "tables": _background(case) if case else []},
        )

    @action(  # type: ignore[untyped-decorator]
        description="Retry",
        permissions=["retry_case", "view"],
        icon="replay",
        variant=ActionVariant.PRIMARY,
    )
    def retry(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Send it again."""
        return self._confirm(request, object_id, RETRY)

    @action(  # type: ignore[untyped-decorator]
        description="Skip",
        permissions=["skip_case", "view"],
        icon="skip_next",
    )
    def skip(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Go on without it."""
        return self._confirm(request, object_id, SKIP)

    @action(  # type: ignore[untyped-decorator]
        description="Resolve by hand",
        permissions=["resolve_case", "view"],
        icon="handyman",
    )
    def resolve(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Record that it was done by hand."""
        return self._confirm(request, object_id, RESOLVE)

    @action(  # type: ignore[untyped-decorator]
        description="Abandon",
        permissions=["abandon_case", "view"],
        icon="block",
        variant=ActionVariant.DANGER,
    )
    def abandon(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Close it as it is."""
        return self._confirm(request, object_id, ABANDON)

    @action(  # type: ignore[untyped-decorator]
        description="Approve",
        permissions=["approve_case", "view"],
        icon="how_to_reg",
    )
    def approve(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Carry out what another person has asked for."""
        return self._decide(request, object_id, is_approval=True)

    @action(description="Decline", permissions=["approve_case", "view"])  # type: ignore[untyped-decorator]
    def decline(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Refuse what another person has asked for."""
        return self._decide(request, object_id, is_approval=False)

    def _decide(self, request: HttpRequest, object_id: str, *, is_approval: bool) -> HttpResponse:
        case = self.get_object(request, object_id)
        approval = four_eyes.waiting_for(case=case) if case else None
        if case is None or approval is None or approval.action not in ACTIONS:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[no-any-return]
        return decide(request, case, approval, is_approval=is_approval, context=self.admin_site.each_context(request))

    def _confirm(self, request: HttpRequest, object_id: str, case_action: CaseAction) -> HttpResponse:
        case = self.get_object(request, object_id)
        if case is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[no-any-return]
        return confirm(request, case, case_action, context=self.admin_site.each_context(request))

    @admin.display(description="case")
    def number(self, case: Case) -> str:
        """Its number."""
        return f"#{case.pk}"

    @admin.display(description="status")
    def state(self, case: Case) -> SafeString:
        """Open, overdue, or how it ended."""
        return case_badge(case)

    @admin.display(description="step")
    def what(self, case: Case) -> str:
        """The step that cannot go on, or who could not take a message."""
        return f"{case.step} ({case.direction})" if case.step else f"message for {case.destination}"

    @admin.display(description="step now")
    def step_now(self, case: Case) -> SafeString | str:
        """Where the step stands now: a case that was retried is not settled before its step is."""
        step = case.saga.steps.get(case.step) if case.saga else None
        return state_badge(step.get("status", "PENDING")) if step else "-"

    @admin.display(description="order")
    def short_order(self, case: Case) -> SafeString | str:
        """The order, short."""
        return short(case.key)

    @admin.display(description="order")
    def order(self, case: Case) -> SafeString:
        """The order; leads to its page."""
        return order_link(case.key)

    @admin.display(description="saga")
    def saga_page(self, case: Case) -> SafeString | str:
        """The saga, with its state now; leads to its page."""
        return format_html("{} {}", saga_link(case.saga), state_badge(case.saga.status)) if case.saga else "-"

    @admin.display(description="opened")
    def opened(self, case: Case) -> str:
        """When a person was first needed."""
        return clock(case.opened_at)

    @admin.display(description="due")
    def due(self, case: Case) -> str:
        """Until when it should be settled."""
        return clock(case.due_at)

    @admin.display(description="due")
    def due_in(self, case: Case) -> str:
        """How much time is left, or since when it is overdue; nothing once it is closed."""
        if case.status == Case.Status.CLOSED:
            return "-"
        now = timezone.now()
        is_overdue = case.due_at < now
        return f"{duration(case.due_at, now)} ago" if is_overdue else f"in {duration(now, case.due_at)}"

    @admin.display(description="closed")
    def closed(self, case: Case) -> str:
        """When it was closed, and how long it took."""
        return f"{clock(case.closed_at)} (after {duration(case.opened_at, case.closed_at)})"


def _background(case: Case) -> list[Table]:
    if case.saga is None:
        done = OperatorAction.objects.filter(case_id=case.pk)
        return [actions_table(done.order_by("id")), attempts_table(case.key)]
    done = OperatorAction.objects.filter(saga_id=case.saga.pk)
    return [steps_table(case.saga), actions_table(done.order_by("id")), attempts_table(case.key)]
